package election

import (
	"bufio"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// A campaign is many elections of all sizes, as `make elections` runs it: a line
// for each chunk goes to a results file, and what is in the file is not run
// again.

var (
	results = flag.String("results", "", "results file of TestCampaign, which is continued; none: a small campaign")
	most    = flag.Int("elections", 120, "elections of TestCampaign, shared by all numbers of members")
)

const (
	chunkSize = 500
	// stockShare: stock raft runs on the first of every so many seeds.
	stockShare = 20
	// campaignGC: little lives long.
	campaignGC = 1000
)

var campaignSizes = []int{3, 4, 5, 6, 7, 9}

// What decides the course of an election: the package, and how it is simulated.
//
//go:embed *.go
var sources embed.FS

// coreVersion names what is simulated; results of another one are not continued.
func coreVersion() string {
	h := sha256.New()
	files, err := sources.ReadDir(".")
	must(err)
	for _, f := range files {
		switch name := f.Name(); {
		case strings.HasSuffix(name, "_test.go") && name != "world_test.go" && name != "queue_test.go" && name != "rounds_test.go":
		default:
			b, err := sources.ReadFile(name)
			must(err)
			h.Write(b)
		}
	}
	shared, err := filepath.Glob("../../internal/suspect/*.go") // suspicion is shared with views
	must(err)
	for _, name := range shared {
		if !strings.HasSuffix(name, "_test.go") {
			b, err := os.ReadFile(name)
			must(err)
			h.Write(b)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// chunk is a line of a results file.
type chunk struct {
	Members   int           `json:"members"`
	First     uint64        `json:"first"`
	Arbiter   tally         `json:"arbiter"`
	Stock     tally         `json:"stock"`
	Real      time.Duration `json:"real"`
	Violation []violation   `json:"violations,omitempty"`
}

// violation is an election that broke an invariant.
type violation struct {
	Seed  uint64 `json:"seed"`
	Error string `json:"error"`
}

func (c *chunk) replay(v violation) string {
	return fmt.Sprintf("go test ./raftdv/election -run 'TestRounds/n=%d$' -trials 1 -seed %d -events", c.Members, v.Seed)
}

type chunkKey struct {
	members int
	first   uint64
}

// campaign runs what its file does not have.
type campaign struct {
	file    string
	version string
	first   uint64
	total   int
	chunk   int
	tamper  func(*kill) // a planted bug
	done    func(k *chunk, all int)
}

// run stops after a chunk with a violation; run again, it goes on behind it.
func (c *campaign) run() (all []chunk, err error) {
	f, done, err := c.open()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for left, i := c.total, 0; left > 0; i++ {
		for _, n := range campaignSizes {
			if left <= 0 {
				break
			}
			first := c.first + uint64(i*c.chunk)
			left -= c.chunk
			if old, ok := done[chunkKey{n, first}]; ok {
				all = append(all, old)
				continue
			}
			k := c.elect(n, first)
			if err := writeLine(f, k); err != nil {
				return all, err
			}
			all = append(all, k)
			if c.done != nil {
				c.done(&k, len(all)*c.chunk)
			}
			if len(k.Violation) > 0 {
				return all, nil
			}
		}
	}
	return all, nil
}

// elect runs one chunk.
func (c *campaign) elect(members int, first uint64) chunk {
	k, start := chunk{Members: members, First: first}, time.Now()
	for seed := first; seed < first+uint64(c.chunk); seed++ {
		e := drawn(seed, members, On)
		if c.tamper != nil {
			c.tamper(&e)
		}
		r, err := e.run()
		k.Arbiter.add(r)
		if err != nil {
			k.Violation = append(k.Violation, violation{seed, err.Error()})
		}
	}
	k.Real = time.Since(start)
	for seed := first; seed < first+uint64(max(1, c.chunk/stockShare)); seed++ {
		e := drawn(seed, members, Off)
		e.plan = nil
		r, err := e.run()
		k.Stock.add(r)
		if err != nil {
			k.Violation = append(k.Violation, violation{seed, "stock: " + err.Error()})
		}
	}
	return k
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	return err
}

var errOtherCore = errors.New("results of another core")

// open reads the results so far, and stands behind the last whole line.
func (c *campaign) open() (*os.File, map[chunkKey]chunk, error) {
	f, err := os.OpenFile(c.file, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, nil, err
	}
	done, whole, in := map[chunkKey]chunk{}, int64(0), bufio.NewReader(f)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			break // a part of a line is of a campaign that was stopped
		}
		if whole == 0 {
			var version string
			if err := json.Unmarshal(line, &version); err != nil || version != c.version {
				f.Close()
				return nil, nil, fmt.Errorf("%w: %s is of %q, this is %q: name another file", errOtherCore, c.file, version, c.version)
			}
		} else {
			var k chunk
			if err := json.Unmarshal(line, &k); err != nil {
				f.Close()
				return nil, nil, fmt.Errorf("%s: %w", c.file, err)
			}
			done[chunkKey{k.Members, k.First}] = k
		}
		whole += int64(len(line))
	}
	_, err = f.Seek(whole, io.SeekStart)
	if err = errors.Join(err, f.Truncate(whole)); err == nil && whole == 0 {
		err = writeLine(f, c.version)
	}
	return f, done, err
}

// summary is what a campaign came to, by number of members.
type summary struct {
	arbiter, stock map[int]*tally
	real           map[int]time.Duration
	broken         []string
}

func summarise(all []chunk) *summary {
	s := &summary{map[int]*tally{}, map[int]*tally{}, map[int]time.Duration{}, nil}
	for _, n := range append([]int{0}, campaignSizes...) { // 0: all
		s.arbiter[n], s.stock[n] = &tally{}, &tally{}
	}
	for _, k := range all {
		for _, n := range []int{0, k.Members} {
			s.arbiter[n].merge(&k.Arbiter)
			s.stock[n].merge(&k.Stock)
			s.real[n] += k.Real
		}
		for _, v := range k.Violation {
			s.broken = append(s.broken, fmt.Sprintf("%s: %s", k.replay(v), v.Error))
		}
	}
	return s
}

// above counts elections above 1 + failed nominees, worst is the most rounds.
func (y *tally) above() (above, worst int) {
	for failed, by := range y.Rounds {
		for n, count := range by {
			if count > 0 {
				worst = max(worst, n)
			}
			if n > 1+failed {
				above += count
			}
		}
	}
	return above, worst
}

// beyond is the share in percent of the elections with more than n rounds.
func (y *tally) beyond(n int) float64 {
	count := 0
	for _, by := range y.Rounds {
		for rounds, c := range by {
			if rounds > n {
				count += c
			}
		}
	}
	return 100 * float64(count) / float64(max(1, y.Elections))
}

func (s *summary) write(w io.Writer) {
	tab := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tab, "n\telections\tnone fails: 1\tone: 1 / 2\ttwo: 1 / 2 / 3\tabove\tmost\tmean\treal time each\tstock: >1 / >2 / >3 (most) of")
	for _, n := range append(campaignSizes, 0) {
		a, k, name := s.arbiter[n], s.stock[n], fmt.Sprint(n)
		if n == 0 {
			name = "all"
		}
		above, worst := a.above()
		_, stockWorst := k.above()
		each := func(d time.Duration) time.Duration { return d / time.Duration(max(1, a.Elections)) }
		fmt.Fprintf(tab, "%s\t%d\t%d\t%d / %d\t%d / %d / %d\t%d\t%d\t%v\t%v\t%.1f / %.1f / %.1f %% (%d) of %d\n", name, a.Elections,
			a.Rounds[0][1], a.Rounds[1][1], a.Rounds[1][2], a.Rounds[2][1], a.Rounds[2][2], a.Rounds[2][3], above, worst,
			each(a.Took).Round(time.Millisecond), each(s.real[n]).Round(10*time.Microsecond),
			k.beyond(1), k.beyond(2), k.beyond(3), stockWorst, k.Elections)
	}
	tab.Flush()
	fmt.Fprintln(w)
	fmt.Fprintln(tab, "nominees failed at\t3\t4\t5\t6\t7\t9\tall")
	for p := range phases {
		fmt.Fprintf(tab, "%v", p)
		for _, n := range append(campaignSizes, 0) {
			fmt.Fprintf(tab, "\t%d", s.arbiter[n].Phases[p])
		}
		fmt.Fprintln(tab)
	}
	tab.Flush()
}

// TestCampaign runs a campaign, or goes on with one, and fails if an election
// broke an invariant.
func TestCampaign(t *testing.T) {
	c := campaign{file: *results, version: coreVersion(), first: *firstSeed, total: *most, chunk: chunkSize}
	if c.file == "" {
		c.file, c.chunk = filepath.Join(t.TempDir(), "results"), 20
	} else {
		c.done = func(k *chunk, all int) {
			above, worst := k.Arbiter.above()
			fmt.Printf("%d of %d: n=%d from seed %d, %d elections, %d above the bound, at most %d rounds, %v each\n", all, c.total,
				k.Members, k.First, k.Arbiter.Elections, above, worst, (k.Real / time.Duration(k.Arbiter.Elections)).Round(10*time.Microsecond))
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(campaignGC))
	all, err := c.run()
	if err != nil {
		t.Fatal(err)
	}
	s := summarise(all)
	var out strings.Builder
	s.write(&out)
	t.Logf("core %s\n%s", c.version, &out)
	for _, b := range s.broken {
		t.Error(b)
	}
}

// What a campaign that was stopped has is kept, and no election counts twice.
func TestCampaignGoesOn(t *testing.T) {
	small := campaign{file: filepath.Join(t.TempDir(), "results"), version: "1", first: 70, total: 60, chunk: 5}
	whole, err := small.run()
	must(err)
	b, err := os.ReadFile(small.file)
	must(err)
	lines := strings.SplitAfter(string(b), "\n")
	must(os.WriteFile(small.file, []byte(strings.Join(lines[:6], "")+lines[6][:20]), 0o644))
	again, err := small.run()
	must(err)
	a, o := summarise(whole), summarise(again)
	for n, y := range a.arbiter {
		if y.String() != o.arbiter[n].String() || y.Elections != map[bool]int{true: 60, false: 10}[n == 0] {
			t.Errorf("n=%d: %v\nand after a stop: %v", n, y, o.arbiter[n])
		}
	}
	if old, err := os.ReadFile(small.file); err != nil || strings.Count(string(old), "\n") != 13 {
		t.Errorf("the file has %d lines, %v", strings.Count(string(old), "\n"), err)
	}
	small.version = "2"
	if _, err := small.run(); !errors.Is(err, errOtherCore) {
		t.Errorf("results of another core are continued: %v", err)
	}
}

// A violation stops a campaign, names the command that replays it, and is not
// forgotten when the campaign goes on.
func TestCampaignStops(t *testing.T) {
	bad := campaign{file: filepath.Join(t.TempDir(), "results"), version: "1", first: 1, total: 360, chunk: 20}
	bad.tamper = func(k *kill) {
		k.plan = nil
		k.setup.tamper = func(a *Arbiter) { a.cfg.Patience = time.Millisecond }
	}
	all, err := bad.run()
	must(err)
	s := summarise(all)
	if len(s.broken) == 0 || s.arbiter[0].Elections == 360 || len(all[len(all)-1].Violation) == 0 {
		t.Fatalf("%d elections, broken: %v", s.arbiter[0].Elections, s.broken)
	}
	v := all[len(all)-1].Violation[0]
	if want := fmt.Sprintf("-run 'TestRounds/n=%d$' -trials 1 -seed %d", all[len(all)-1].Members, v.Seed); !strings.Contains(s.broken[0], want) {
		t.Errorf("%q lacks %q", s.broken[0], want)
	}
	if above, worst := s.arbiter[0].above(); above == 0 || worst < 2 {
		t.Errorf("%d above the bound, at most %d rounds", above, worst)
	}
	more, err := bad.run()
	must(err)
	if len(more) <= len(all) || len(summarise(more).broken) < len(s.broken) {
		t.Errorf("%d chunks, then %d", len(all), len(more))
	}
}

// The sums of a summary are those of its chunks.
func TestSummary(t *testing.T) {
	one := chunk{Members: 3, Arbiter: tally{Elections: 3, Took: 3 * time.Second}}
	one.Arbiter.Rounds[0][1], one.Arbiter.Rounds[1][2], one.Arbiter.Rounds[2][3] = 1, 1, 1
	one.Arbiter.Phases[atElected] = 3
	two := chunk{Members: 5, Arbiter: tally{Elections: 2}, Stock: tally{Elections: 4}, Violation: []violation{{9, "E1"}}}
	two.Arbiter.Rounds[0][1], two.Arbiter.Rounds[1][4] = 1, 1
	two.Stock.Rounds[0][1], two.Stock.Rounds[0][2], two.Stock.Rounds[0][5] = 2, 1, 1
	s := summarise([]chunk{one, two, one})
	if a, w := s.arbiter[3].above(); a != 0 || w != 3 || s.arbiter[3].Elections != 6 || s.arbiter[3].Phases[atElected] != 6 {
		t.Errorf("n=3: %d above, at most %d: %v", a, w, s.arbiter[3])
	}
	if a, w := s.arbiter[0].above(); a != 1 || w != 4 || s.arbiter[0].Elections != 8 {
		t.Errorf("all: %d above, at most %d: %v", a, w, s.arbiter[0])
	}
	if b := s.stock[0]; b.beyond(1) != 50 || b.beyond(2) != 25 || b.beyond(5) != 0 {
		t.Errorf("stock: %v, %v, %v", b.beyond(1), b.beyond(2), b.beyond(5))
	}
	var out strings.Builder
	if s.write(&out); !strings.Contains(out.String(), "50.0 / 25.0 / 25.0 % (5) of 4") || len(s.broken) != 1 {
		t.Errorf("%s\n%v", &out, s.broken)
	}
}
