package raftdv

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"github.com/raftdv/dv/fabric/shm"
	"github.com/raftdv/dv/internal/needs"
)

// withShm is a configuration whose members of one test meet.
func withShm(t testing.TB) Config {
	t.Helper()
	needs.All(t, needs.Kernel(3, 17))  // memfd_create
	dir, err := os.MkdirTemp("", "dv") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return Config{ShmDir: filepath.Join(dir, "shm")}
}

// Members that do not share memory with each other use the next fabric, and
// say why where somebody has to mend it.
func TestShmNeedsCommonGround(t *testing.T) {
	with := withShm(t)
	for name, c := range map[string]struct {
		other Config
		why   string
	}{
		"peer without": {Config{}, errNotOffered.Error()},
		"elsewhere":    {withShm(t), "same --dv-shm-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := startNodes(t, nodeOptions{config: with}, nodeOptions{config: c.other})
			onPath(t, FabricUDP, nodes...)
			exchange(t, nodes)
			if why := nodes[0].dv.State().Peers[0].SideError; !strings.Contains(why, c.why) {
				t.Errorf("side error %q, want %q in it", why, c.why)
			}
		})
	}
}

func TestShmOffers(t *testing.T) {
	n := newNode(t, 1, nodeOptions{})
	n.start(t, nodeOptions{config: withShm(t)})
	t.Cleanup(n.stop)
	n.tr.AddPeer(2, []string{"http://127.0.0.1:1"})
	side, p := n.dv.roads[0].side.(*shmSide), n.dv.peer(2)
	with := &controlStream{theirs: &hello{Incarnation: 1}}
	keys := sideKeys{send: randomBytes(keyLen), recv: randomBytes(keyLen)}
	for name, c := range map[string]struct {
		change func(*offer)
		why    string
	}{
		"good":       {func(*offer) {}, ""},
		"other host": {func(o *offer) { o.Host = "x" }, errElsewhere.Error()},
		"other user": {func(o *offer) { o.User++ }, "run both as one user"},
		"other dir":  {func(o *offer) { o.Addr = "/run/other/2.sock" }, "same --dv-shm-dir"},
		"up and out": {func(o *offer) { o.Addr = filepath.Dir(o.Addr) + "/../2.sock" }, "same --dv-shm-dir"},
		"no address": {func(o *offer) { o.Addr = "" }, "same --dv-shm-dir"},
		"too little": {func(o *offer) { o.MaxFrame-- }, "at most"},
		"no frames":  {func(o *offer) { o.MaxFrame = 0 }, "at most"},
		"no key":     {func(*offer) { keys = sideKeys{send: []byte{1}} }, "key"},
	} {
		theirs := side.offer()
		theirs.Addr = filepath.Join(filepath.Dir(theirs.Addr), "2.sock")
		c.change(&theirs)
		err := side.connect(p, theirs, with, keys)
		keys = sideKeys{send: randomBytes(keyLen), recv: randomBytes(keyLen)}
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
}

// That peers run on other hosts is the normal case: nothing is counted.
func TestNoSessionIsCounted(t *testing.T) {
	n := newNode(t, 1, nodeOptions{})
	n.start(t, nodeOptions{})
	t.Cleanup(n.stop)
	n.tr.AddPeer(2, []string{"http://127.0.0.1:1"})
	p := n.dv.peer(2)
	count := func() uint64 {
		p.metrics.fallbacksMu.Lock()
		defer p.metrics.fallbacksMu.Unlock()
		return p.metrics.fallbacks["no-session"]
	}
	if p.noSession(n.dv.roads[0], errElsewhere); count() != 0 {
		t.Errorf("counted %d for a peer on another host", count())
	}
	if p.noSession(n.dv.roads[0], errNotOffered); count() != 1 {
		t.Errorf("counted %d for a peer that does not offer the fabric", count())
	}
}

// A peer that dies is known to be gone at once: no timeout has to pass.
func TestShmHearsOfDeath(t *testing.T) {
	config := withShm(t)
	config.ControlTimeout, config.TicketTimeout = time.Minute, time.Hour
	o := nodeOptions{config: config}
	nodes := startNodes(t, o, o)
	onPath(t, FabricShm, nodes...)
	a, b := nodes[0], nodes[1]
	b.dv.roads[0].port.Close()
	eventually(t, "a uses another path", func() bool { return a.dv.peer(b.id).pathName() != FabricShm })
	for _, l := range a.dv.State().Peers[0].Links {
		if l.Fabric == FabricShm && !strings.Contains(l.Down, shm.ErrHungUp.Error()) && !strings.Contains(l.Down, shm.ErrNotYetUp.Error()) {
			t.Errorf("link is down for %q", l.Down)
		}
	}
	want := beatMsg(a.id, b.id, 9)
	a.tr.Send([]*raftpb.Message{want})
	arrives(t, a, b, want)
}

// A message that is larger than what shared memory takes goes another way.
func TestShmLargeMessages(t *testing.T) {
	o := nodeOptions{config: withShm(t)}
	nodes := startNodes(t, o, o)
	onPath(t, FabricShm, nodes...)
	a, b := nodes[0], nodes[1]
	for i, size := range []int{1 << 20, a.dv.roads[0].caps.MaxFrame - 1000, a.dv.roads[0].caps.MaxFrame} {
		want := appendMsg(a.id, b.id, uint64(i+1), strings.Repeat("y", size))
		a.tr.Send([]*raftpb.Message{want})
		arrives(t, a, b, want)
	}
}

func TestShmConfig(t *testing.T) {
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"none":         {Config{}, ""},
		"default":      {Config{ShmDir: "/run/dv"}, ""},
		"alone":        {Config{ShmDir: "/run/dv", Fabrics: []string{FabricShm}}, ""},
		"trusted":      {Config{ShmDir: "/run/dv", TrustFabric: true}, ""},
		"no directory": {Config{Fabrics: []string{FabricShm, FabricUDP}}, "set ShmDir"},
		"not listed":   {Config{ShmDir: "/run/dv", Fabrics: []string{FabricUDP}}, "add shm"},
		"relative":     {Config{ShmDir: "dv"}, "absolute"},
		"too long":     {Config{ShmDir: "/" + strings.Repeat("x", 100)}, "too long"},
	} {
		err := c.config.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	if got := (Config{ShmDir: "/x"}).withDefaults().Fabrics; got[0] != FabricShm {
		t.Errorf("with a directory the fabrics are %v", got)
	}
	if _, err := (&Transport{}).openSide("carrier pigeon", nil); err == nil || errors.Is(err, shm.ErrUnsupported) {
		t.Errorf("unknown fabric: %v", err)
	}
}
