package demo

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// A printer writes lines with the time since it was made.
type printer struct {
	mu    sync.Mutex
	w     io.Writer
	begin time.Time
}

func newPrinter(w io.Writer) *printer { return &printer{w: w, begin: time.Now()} }

func (p *printer) step(format string, args ...any) {
	p.line(fmt.Sprintf("[%6.2fs] ", time.Since(p.begin).Seconds()), format, args...)
}

func (p *printer) detail(format string, args ...any) { p.line("           ", format, args...) }
func (p *printer) say(format string, args ...any)    { p.line("", format, args...) }

func (p *printer) line(lead, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.w, lead+fmt.Sprintf(format, args...))
}

func (r *run) summary(ctx context.Context) {
	r.out.say("\nSummary")
	r.out.say("  acknowledged puts   %d, none lost", r.acked.Writes())
	r.out.say("  put/s               %.0f (%d writers)", r.rate, writers)
	r.out.say("  recovery            %v from kill -9 of the leader to the next acknowledged put", r.recovery.Round(time.Millisecond))
	if r.stock > 0 {
		r.out.say("  stock etcd          %v for the same: %.0f times as long", r.stock.Round(time.Millisecond), float64(r.stock)/float64(r.recovery))
	}
	if r.election != nil {
		r.out.say("  election            %s", describe(r.election))
	}
	r.out.say("  peer paths")
	for _, l := range settledPaths(ctx, r.cluster.Members()) {
		r.out.say("    %s", l)
	}
	r.byHand()
}

// byHand prints commands that work while the cluster is up.
func (r *run) byHand() {
	if !r.cfg.Stay {
		r.out.say("\nTo go on by hand keep the cluster: %s demo --stay", r.cfg.Tool)
		return
	}
	flags := r.cluster.Flags()
	var status strings.Builder
	status.WriteString(r.cfg.Tool + " status")
	r.out.say("\nTo go on by hand")
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		r.out.say("  export ETCDCTL_%s=%s", strings.ToUpper(name), flags[name])
		status.WriteString(fmt.Sprintf(" --%s=$ETCDCTL_%s", name, strings.ToUpper(name)))
	}
	ctl, err := exec.LookPath(r.cfg.Etcdctl)
	if err != nil {
		ctl = r.cfg.Etcdctl
		r.out.say("  # %s is not there: make etcdctl builds it", ctl)
	}
	for _, c := range []string{"endpoint status -w table", "put greeting hello", "get greeting", "get demo/ --prefix --limit 5", "check perf"} {
		r.out.say("  %s %s", ctl, c)
	}
	r.out.say("  %s", status.String())
	for _, m := range r.cluster.Members() {
		r.out.say("  kill -9 %d    # %s, log: %s", m.Pid(), m.Name, m.LogPath())
	}
}
