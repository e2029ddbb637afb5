package raftdv

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A dial that nobody answers is ended when the peer dials here, unless it has only
// begun, and there is another one.
func TestHungDial(t *testing.T) {
	release := make(chan struct{})
	silent := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == BootstrapPath {
				<-release
			}
			h.ServeHTTP(w, r)
		})
	}
	nodes := startNodes(t, nodeOptions{}, nodeOptions{wrap: silent})
	defer close(release)
	p := nodes[0].dv.peer(2)
	var ended error
	dials := func(age time.Duration) bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.dialCancel == nil {
			return false
		}
		cancel := p.dialCancel
		p.dialCancel = func(err error) { ended = err; cancel(err) }
		p.dialBegun = time.Now().Add(-age)
		return true
	}
	eventually(t, "a dial runs", func() bool { return dials(0) })
	if p.kick(); ended != nil {
		t.Errorf("a dial that has only begun was ended: %v", ended)
	}
	eventually(t, "a dial runs", func() bool { return dials(2 * hungDial) })
	if p.kick(); !errors.Is(ended, errHungDial) {
		t.Errorf("a dial that hangs was not ended: %v", ended)
	}
	eventually(t, "the reason is shown", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return strings.Contains(p.dialErr, errHungDial.Error())
	})
	eventually(t, "it dials again", func() bool { return dials(0) })
}
