package shm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/raftdv/dv/fabric"
)

// How often writers are killed, and for how long at most: the full number is
// 10,000, by -kills 10000 -killtime 1h -timeout 2h.
var (
	kills    = flag.Int("kills", 150, "how many writers each kill test kills")
	killTime = flag.Duration("killtime", 9*time.Second, "for how long at most it goes on")
	killSeed = flag.Uint64("killseed", 1, "seed of the kill tests")
)

// The test binary, started with writerEnv, is a writer that waits to be killed.
const writerEnv = "SHM_TEST_WRITER"

const (
	ringMode       = "ring"
	validFirstMode = "ring, valid word first"
	portMode       = "port"
)

func writerMain() int {
	args := strings.Split(os.Getenv(writerEnv), "|")
	err := errors.New("unknown mode")
	switch args[0] {
	case ringMode, validFirstMode:
		err = writeRing(args[0] == validFirstMode)
	case portMode:
		err = writePort(args[1], args[2])
	}
	fmt.Fprintln(os.Stderr, "writer:", err)
	return 1
}

func startWriter(t *testing.T, files []*os.File, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), writerEnv+"="+strings.Join(args, "|"))
	cmd.ExtraFiles = files
	var out bytes.Buffer
	cmd.Stderr = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// reap kills a writer, waits for it, and checks that this ended it.
func reap(t *testing.T, cmd *exec.Cmd, out *bytes.Buffer) {
	t.Helper()
	_ = cmd.Process.Kill()
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != -1 {
		t.Errorf("the writer ended before it was killed: %v: %s", err, out)
	}
}

var killPattern = func() []byte {
	rng, b := rand.NewPCG(3, 4), make([]byte, 0, 2*maxSlot)
	for len(b) < cap(b) {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return b
}()

// killBody is the content that a writer gives its n-th frame: the number, and
// bytes that fit no other number.
func killBody(dst []byte, n uint64, size int) []byte {
	return append(binary.LittleEndian.AppendUint64(dst, n), killBytes(n, size)...)
}

func killBytes(n uint64, size int) []byte {
	at := int(n * 0x9e3779b97f4a7c15 >> 48)
	return killPattern[at : at+size]
}

// killSize is mostly a whole slot, so that most of the time is spent copying.
func killSize(n uint64) int {
	if n%3 == 0 {
		return int(n * 131 % 4000)
	}
	return room(maxSlot) - 8
}

const (
	killSlots = 8
	killRings = killSlots * maxSlot
)

// writeRing writes a bare ring, as fast as it can. The first word of the memory
// is the credit.
func writeRing(validFirst bool) error {
	m, err := openMemory(3, page+killRings)
	if err != nil {
		return err
	}
	w := newRingWriter(m.b[page:], maxSlot)
	var body []byte
	for n := uint64(1); ; n++ {
		for w.free() == 0 {
			if err := w.credit(word64(m.b, 0).Load()); err != nil {
				return err
			}
		}
		body = killBody(body[:0], n, killSize(n))
		if validFirst {
			putValidFirst(&w, body)
		} else {
			w.put(body)
		}
	}
}

// putValidFirst is the planted bug.
func putValidFirst(w *ringWriter, content []byte) {
	image := fabric.AppendSlot(nil, refAt(w.head, w.slots), content)
	end := (int(w.head%uint64(w.slots)) + 1) * w.slot
	word64(w.mem, end-8).Store(binary.LittleEndian.Uint64(image[len(image)-8:]))
	copy(w.mem[end-len(image):end-8], image[:len(image)-8])
	w.head++
}

// takeAny is the other planted bug: it looks at no generation.
func takeAny(r *ringReader, buf []byte) (_, content []byte, err error) {
	word := r.validWord()
	if word == 0 {
		return buf, nil, fabric.ErrShort
	}
	end := (int(r.tail%uint64(r.slots)) + 1) * r.slot
	buf = append(buf, r.mem[end-r.slot:end]...)
	if content, err = fabric.ParseSlot(buf, fabric.SlotRef(word)); err == nil {
		r.tail++
	}
	return buf, content, err
}

type takeFunc func(*ringReader, []byte) (_, content []byte, err error)

// killRing starts a writer of a bare ring, kills it at a random moment, and
// checks everything that it wrote. midWrite: it had begun a slot.
func killRing(t *testing.T, mode string, take takeFunc, rng *rand.Rand) (midWrite bool, err error) {
	t.Helper()
	m, merr := newMemory("dv-kill", page+killRings)
	if merr != nil {
		t.Fatal(merr)
	}
	defer m.release()
	fd, derr := unix.FcntlInt(uintptr(m.fd), unix.F_DUPFD_CLOEXEC, 0)
	if derr != nil {
		t.Fatal(derr)
	}
	file := os.NewFile(uintptr(fd), "ring")
	cmd, out := startWriter(t, []*os.File{file}, mode)
	file.Close()
	r := newRingReader(m.b[page:], maxSlot)
	gone := make(chan struct{})
	dead, killed := false, false
	var buf []byte
	for n, last := uint64(1), 1+rng.Uint64N(500); ; {
		var content []byte
		buf, content, err = take(&r, buf[:0])
		switch {
		case errors.Is(err, fabric.ErrShort) && !dead:
			err = nil
			select {
			case <-gone:
				dead = true // and look once more
			default:
				runtime.Gosched()
			}
		case errors.Is(err, fabric.ErrShort):
			return begun(&r, n), nil
		case err == nil:
			// Compared in place: the reader has to be faster than the writer.
			if len(content) != 8+killSize(n) || binary.LittleEndian.Uint64(content) != n || !bytes.Equal(content[8:], killBytes(n, killSize(n))) {
				err = fmt.Errorf("content %d is not what was written (%d bytes, want %d)", n, len(content), 8+killSize(n))
				break
			}
			n++
			word64(m.b, 0).Store(r.tail)
		}
		if !killed && (err != nil || n > last) {
			killed = true
			go func() {
				defer close(gone)
				reap(t, cmd, out)
			}()
		}
		if err != nil {
			<-gone
			return false, err
		}
	}
}

// begun reports whether the slot that is due, for content n, was begun: some of
// it is there already.
func begun(r *ringReader, n uint64) bool {
	image := fabric.AppendSlot(nil, refAt(r.tail, r.slots), killBody(nil, n, killSize(n)))
	end := (int(r.tail%uint64(r.slots)) + 1) * r.slot
	there := r.mem[end-len(image) : end]
	for at := 0; at+line < len(image); at += line { // without the last line, that of the valid word
		if bytes.Equal(there[at:at+line], image[at:at+line]) {
			return true
		}
	}
	return false
}

func product(r *ringReader, buf []byte) (_, content []byte, err error) { return r.take(buf) }

func TestKilledRingWriter(t *testing.T) {
	rng := rand.New(rand.NewPCG(*killSeed, 1))
	mid, n := 0, 0
	for start := time.Now(); n < *kills && time.Since(start) < *killTime; n++ {
		midWrite, err := killRing(t, ringMode, product, rng)
		if err != nil {
			t.Fatalf("after %d kills (-killseed %d): %v", n, *killSeed, err)
		}
		if midWrite {
			mid++
		}
	}
	t.Logf("%d writers killed, %d of them within a slot; nothing corrupt was taken", n, mid)
	if n >= 100 && mid == 0 {
		t.Error("no writer was killed within a slot: the test shows nothing here")
	}
}

// TestKillTestFindsPlantedBugs is the negative control.
func TestKillTestFindsPlantedBugs(t *testing.T) {
	for _, tc := range []struct {
		bug, mode string
		take      takeFunc
	}{
		{"valid word first", validFirstMode, product},
		{"no generation check", ringMode, takeAny},
	} {
		t.Run(tc.bug, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(*killSeed, 2))
			for n := range *kills {
				if _, err := killRing(t, tc.mode, tc.take, rng); err != nil {
					t.Logf("found after %d kills: %v", n, err)
					return
				}
			}
			t.Errorf("%d kills do not find it", *kills)
		})
	}
}

const (
	killWriter = fabric.MemberID(1)
	killReader = fabric.MemberID(2)
)

var killKey = []byte("a key for the kill test")

// killCheck is the handler of the reader. It checks everything that it is told.
type killCheck struct {
	mu       sync.Mutex
	changed  chan struct{}
	up       bool
	inc      uint64
	next     [fabric.Lanes]uint64
	count    uint64 // frames of this incarnation
	version  uint64
	want     []byte
	failures []string
}

func (c *killCheck) fail(format string, args ...any) {
	if len(c.failures) < 10 {
		c.failures = append(c.failures, fmt.Sprintf(format, args...))
	}
}

func (c *killCheck) poke() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// frameSize of the n-th frame of a lane: from none to several slots.
func frameSize(n uint64) int {
	switch n % 4 {
	case 0:
		return int(n * 7919 % 30000)
	case 1:
		return 0
	}
	return int(n * 31 % 2000)
}

func (c *killCheck) Deliver(_ fabric.MemberID, frames []fabric.Frame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range frames {
		f := &frames[i]
		if !c.up {
			c.fail("frame %d while the link is down", f.Link)
		}
		if f.Link != c.next[f.Lane] || f.Stream != f.Link<<16|c.inc {
			c.fail("incarnation %d, %v lane: frame %d, stream %#x; expected %d", c.inc, f.Lane, f.Link, f.Stream, c.next[f.Lane])
		}
		c.next[f.Lane] = f.Link + 1
		c.want = killBody(c.want[:0], f.Stream, frameSize(f.Link))
		if !bytes.Equal(f.Body, c.want) {
			c.fail("incarnation %d, %v lane: frame %d is corrupt (%d bytes of %d)", c.inc, f.Lane, f.Link, len(f.Body), len(c.want))
		}
		c.count++
	}
	c.poke()
}

func (c *killCheck) Gap(_ fabric.MemberID, g fabric.Gap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail("gap %+v: each incarnation has one session", g)
}

func (c *killCheck) Row(_ fabric.MemberID, row fabric.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if row.Incarnation != c.inc || row.Version <= c.version {
		c.fail("row %d.%d after %d.%d", row.Incarnation, row.Version, c.inc, c.version)
	}
	c.version = row.Version
	if s, ok := fabric.FindSection(row.Sections, fabric.SectionRaft); !ok || !bytes.Equal(s.Value, killBody(nil, row.Version, int(row.Version%900))) {
		c.fail("row %d.%d is corrupt", row.Incarnation, row.Version)
	}
}

func (c *killCheck) Resolve([]fabric.Resolution) {}

func (c *killCheck) Link(_ fabric.MemberID, s fabric.LinkState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.up = s.Up; c.up {
		c.inc, c.count, c.version = s.Incarnation, 0, 0
		c.next = [fabric.Lanes]uint64{1, 1, 1}
	} else if !errors.Is(s.Err, ErrHungUp) {
		c.fail("link down: %v", s.Err)
	}
	c.poke()
}

// await waits until cond holds, or fails the test: the reader is stuck.
func (c *killCheck) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
	defer deadline.Stop()
	for {
		c.mu.Lock()
		ok := cond()
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-c.changed:
		case <-deadline.C:
			t.Fatalf("the reader is stuck: %s", what)
		}
	}
}

// idleHandler is a handler that wants to know only when to send.
type idleHandler struct{ wake chan struct{} }

func (h *idleHandler) Deliver(fabric.MemberID, []fabric.Frame) {}
func (h *idleHandler) Gap(fabric.MemberID, fabric.Gap)         {}
func (h *idleHandler) Row(fabric.MemberID, fabric.Row)         {}
func (h *idleHandler) Resolve([]fabric.Resolution)             { h.poke() }
func (h *idleHandler) Link(fabric.MemberID, fabric.LinkState)  { h.poke() }
func (h *idleHandler) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// writePort is a member that floods another one with frames and rows.
func writePort(dir, incarnation string) error {
	inc, err := strconv.ParseUint(incarnation, 10, 16)
	if err != nil {
		return err
	}
	h := &idleHandler{make(chan struct{}, 1)}
	p, err := New(Config{Self: killWriter, Incarnation: inc, Dir: dir}, h)
	if err != nil {
		return err
	}
	if err := p.Connect(killReader, Session{PeerIncarnation: 1, Key: killKey}); err != nil {
		return err
	}
	next, version := [fabric.Lanes]uint64{1, 1, 1}, uint64(1)
	var body []byte
	for lane := fabric.Lane(0); ; lane = (lane + 1) % fabric.Lanes {
		n := next[lane]
		stream := n<<16 | inc
		body = killBody(body[:0], stream, frameSize(n))
		err := p.Send([]fabric.Outgoing{{To: []fabric.MemberID{killReader}, Lane: lane, Stream: stream, Body: body, Ticket: n}})
		switch {
		case err == nil:
			next[lane]++
		case errors.Is(err, fabric.ErrNoCredit), errors.Is(err, fabric.ErrLinkDown):
			<-h.wake
		default:
			return err
		}
		if n%8 == 0 {
			sections := fabric.AppendSection(nil, fabric.Section{ID: fabric.SectionRaft, Version: 1, Value: killBody(nil, version, int(version%900))})
			if err := p.Publish(fabric.Row{Owner: killWriter, Incarnation: inc, Version: version, Sections: sections}, []fabric.MemberID{killReader}); err != nil {
				return err
			}
			version++
		}
	}
}

func TestKilledPeer(t *testing.T) {
	rng := rand.New(rand.NewPCG(*killSeed, 3))
	dir, files := testDir(t), openFiles(t)
	c := &killCheck{changed: make(chan struct{}, 1)}
	p, err := New(Config{Self: killReader, Incarnation: 1, Dir: dir}, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	n, frames := 0, uint64(0)
	for start := time.Now(); n < *kills && time.Since(start) < *killTime; n++ {
		inc := uint64(n + 1)
		if err := p.Connect(killWriter, Session{PeerIncarnation: inc, Key: killKey}); err != nil {
			t.Fatal(err)
		}
		cmd, out := startWriter(t, nil, portMode, dir, strconv.FormatUint(inc, 10))
		after := 1 + rng.Uint64N(800)
		c.await(t, "no frames arrive", func() bool { return c.inc == inc && c.count >= after || len(c.failures) > 0 })
		reap(t, cmd, out)
		c.await(t, "the link of a dead writer stays up", func() bool { return !c.up })
		c.mu.Lock()
		frames += c.count
		if len(c.failures) > 0 {
			t.Fatalf("after %d kills (-killseed %d): %s", n+1, *killSeed, strings.Join(c.failures, "; "))
		}
		c.mu.Unlock()
	}
	t.Logf("%d writers killed, %d frames checked", n, frames)
	if s := p.Stats(nil); !slices.ContainsFunc(s, func(l fabric.LinkStats) bool { return l.Peer == killWriter && l.Refused == 0 }) {
		t.Errorf("a killed writer broke the protocol: %+v", s)
	}
	p.Close()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if left := strings.Count(string(maps), "dv-segment"); left > 0 {
		t.Errorf("%d segments are still mapped", left)
	}
	if now := openFiles(t); now > files {
		t.Errorf("%d files are open, %d before", now, files)
	}
}

// openFiles counts what is open, but for what the runtime and the test keep.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		to, err := os.Readlink("/proc/self/fd/" + f.Name())
		if err == nil && (strings.HasPrefix(to, "socket:") || strings.Contains(to, "memfd:") || strings.HasSuffix(to, ".lock")) {
			n++
		}
	}
	return n
}
