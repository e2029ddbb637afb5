//go:build linux

package shm

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/fabric"
	"github.com/raftdv/dv/internal/needs"
)

func TestStrangersAreRefused(t *testing.T) {
	r := newRecorder()
	p := mustPort(t, Config{Self: self, Incarnation: 1, Dir: testDir(t), MaxFrame: 64 << 10}, r)
	if err := p.Connect(mate, Session{PeerIncarnation: 1, Key: testKey}); err != nil {
		t.Fatal(err)
	}
	memory := func(size int) *memory {
		m, err := newMemory("test", size)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.release)
		return m
	}
	bell, segment := memory(bellLen), memory(p.shape.size())
	e, file, err := newEvent()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	event := int(e)
	good := []int{bell.fd, event, segment.fd}
	before := openFiles(t)
	for name, tc := range map[string]struct {
		edit func(*hello, *[]byte)
		fds  []int
		says string
	}{
		"another key":              {func(_ *hello, k *[]byte) { *k = []byte("another key altogether") }, good, "proof"},
		"no key":                   {func(_ *hello, k *[]byte) { *k = nil }, good, "proof"},
		"unknown member":           {func(h *hello, _ *[]byte) { h.from = 7 }, good, "not connected"},
		"member that should not":   {func(h *hello, _ *[]byte) { h.from = self + 1 }, good, "not connected"},
		"itself":                   {func(h *hello, _ *[]byte) { h.from = self }, good, "not connected"},
		"for another":              {func(h *hello, _ *[]byte) { h.to = 7 }, good, "speaks to"},
		"of another incarnation":   {func(h *hello, _ *[]byte) { h.fromInc = 2 }, good, "incarnation"},
		"for another incarnation":  {func(h *hello, _ *[]byte) { h.toInc = 2 }, good, "incarnation"},
		"link sequence 0":          {func(h *hello, _ *[]byte) { h.next[1] = 0 }, good, "link sequence 0"},
		"slots of odd size":        {func(h *hello, _ *[]byte) { h.shape.slot++ }, good, "slots of"},
		"slots of no size":         {func(h *hello, _ *[]byte) { h.shape.slot = 0 }, good, "slots of"},
		"no slots":                 {func(h *hello, _ *[]byte) { h.shape.slots[2] = 0 }, good, "slots in the bulk lane"},
		"frames of no size":        {func(h *hello, _ *[]byte) { h.shape.maxFrame = 0 }, good, "frames of"},
		"a segment beyond measure": {func(h *hello, _ *[]byte) { h.shape.slot, h.shape.slots[0] = maxSlot, maxSlots }, good, "segment of"},
		"more slots than memory":   {func(h *hello, _ *[]byte) { h.shape.slots[2]++ }, good, "memory is not"},
		"no descriptors":           {nil, nil, "0 descriptors"},
		"one descriptor":           {nil, []int{bell.fd}, "1 descriptors"},
		"two descriptors":          {nil, []int{bell.fd, segment.fd}, "2 descriptors"},
		"four descriptors":         {nil, []int{bell.fd, event, segment.fd, bell.fd}, "4 descriptors"},
		"more descriptors":         {nil, []int{bell.fd, bell.fd, bell.fd, bell.fd, bell.fd, bell.fd, bell.fd, bell.fd}, "longer"},
		"the wrong way round":      {nil, []int{segment.fd, event, bell.fd}, "memory is not"},
		"no memory":                {nil, []int{bell.fd, event, 0}, "memory is not"},
		"no event":                 {nil, []int{bell.fd, segment.fd, segment.fd}, "not an event"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, answer, fds, err := dialAs(t, p, tc.edit, tc.fds...)
			if err != nil || len(fds) > 0 {
				t.Fatalf("no answer: %v, with %d descriptors", err, len(fds))
			}
			if _, err := parseHello(answer); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("answer: %v, want %q", err, tc.says)
			}
			if _, _, err := receive(conn); !errors.Is(err, ErrHungUp) {
				t.Errorf("the connection goes on: %v", err)
			}
			conn.Close()
		})
	}
	for name, b := range map[string][]byte{
		"garbage": []byte("GET / HTTP/1.1"), "short": {1}, "long": make([]byte, 4096), "another version": {'d', 'V', 's', 'm', 9, 0, 1, 0},
		"a refusal": refusal(errors.New("no")), "another kind": appendPrelude(nil, 3), "half a hello": appendPrelude(nil, kindHello),
	} {
		conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: p.Socket(), Net: "unixpacket"})
		if err != nil {
			t.Fatal(err)
		}
		if err := send(conn, b, good...); err != nil {
			t.Fatal(err)
		}
		answer, fds, err := receive(conn)
		if _, perr := parseHello(answer); err != nil || len(fds) > 0 || !errors.Is(perr, ErrRefused) {
			t.Errorf("%s: answered %q, %v", name, answer, errors.Join(err, perr))
		}
		conn.Close()
	}
	r.await(t, "nothing", func() bool {
		if len(r.log) > 0 {
			t.Errorf("the handler was told: %q", r.log)
		}
		return true
	})
	l := newLiar(t, p) // the port still meets who is due
	r.await(t, "link up", func() bool { return r.link().Up })
	l.close()
	r.await(t, "link down", func() bool { return len(r.links) == 2 })
	p.Close()
	// The port's own listener, doorbell and lock have gone, too.
	if now := openFiles(t); now > before {
		t.Errorf("%d files are open, %d before: descriptors of strangers were kept", now, before)
	}
}

func TestDirectory(t *testing.T) {
	open := func(dir string, id fabric.MemberID) error {
		p, err := New(Config{Self: id, Dir: dir}, newRecorder())
		if err == nil {
			p.Close()
		}
		return err
	}
	base := testDir(t)
	fresh := filepath.Join(base, "a", "b")
	if err := open(fresh, 1); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(fresh); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("directory made: %v, %v", st.Mode(), err)
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(fresh, link); err != nil {
		t.Fatal(err)
	}
	if err := open(link, 1); !errors.Is(err, ErrDirectory) {
		t.Errorf("a link: %v", err)
	}
	if err := os.WriteFile(filepath.Join(base, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(filepath.Join(base, "file"), 1); !errors.Is(err, ErrDirectory) {
		t.Errorf("a file: %v", err)
	}
	for _, mode := range []os.FileMode{0o755, 0o710, 0o702} {
		if err := os.Chmod(fresh, mode); err != nil {
			t.Fatal(err)
		}
		if err := open(fresh, 1); !errors.Is(err, ErrDirectory) || !strings.Contains(err.Error(), "chmod") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
}

func TestPlaceInTheDirectory(t *testing.T) {
	dir := testDir(t)
	cfg := Config{Self: self, Dir: dir}
	first := mustPort(t, cfg, newRecorder())
	for _, name := range []string{first.Socket(), strings.TrimSuffix(first.Socket(), ".sock") + ".lock"} {
		if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	if _, err := New(cfg, newRecorder()); !errors.Is(err, ErrInUse) {
		t.Errorf("a second port of one member: %v", err)
	}
	mustPort(t, Config{Self: mate, Dir: dir}, newRecorder()) // another member may
	first.crash()
	if _, err := os.Stat(first.Socket()); err != nil {
		t.Fatalf("the test needs a socket that was left behind: %v", err)
	}
	second := mustPort(t, cfg, newRecorder())
	second.Close()
	if _, err := os.Stat(second.Socket()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a closed port leaves its socket behind: %v", err)
	}
}

func TestUserIsChecked(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[1])
	f := os.NewFile(uintptr(fds[0]), "pair")
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := checkUser(c.(*net.UnixConn)); err != nil {
		t.Errorf("this process itself: %v", err)
	}
	needs.All(t, needs.Root()) // who can be another user
	// The other end keeps the user that made the pair.
	done := make(chan error)
	go func() { // on a thread that ends with the goroutine
		done <- asUser(12345, func() error { return checkUser(c.(*net.UnixConn)) })
	}()
	if err := <-done; !errors.Is(err, ErrForeignUser) {
		t.Errorf("another user: %v", err)
	}
}
