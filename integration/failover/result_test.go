package failover

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

func itoa(n int) string { return strconv.Itoa(n) }

func someTrials() *trials {
	ms := func(side string, n, took int) Trial {
		return Trial{Fault: Kill, Members: 3, Writers: 1, Number: n, Side: side, Took: time.Duration(took) * time.Millisecond, Within: took < 15000, Terms: 1, Changes: 1}
	}
	return &trials{
		cell: cell{Kill, 3, 1}, paths: "udp", storage: "memory", writes: 77,
		stock: []Trial{ms(StockSide, 1, 1000), ms(StockSide, 2, 15000)}, dv: []Trial{ms(DVSide, 1, 8), ms(DVSide, 2, 10)},
	}
}

func TestResult(t *testing.T) {
	r := someTrials().result(Config{}.withDefaults())
	if r.Trials != 2 || r.BoundMs != 15000 || r.Stock.NotWithin != 1 || r.DV.P50Ms != 9 || r.RatioMedian != 0.001125 || r.Writes != 77 || r.Machine == "" {
		t.Errorf("%+v", r)
	}
	var out strings.Builder
	if err := WriteTable(&out, []Result{r, skipped(cell{Cut, 3, 1}, errors.New("it needs root"))}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1/2 not within 15s", "0/2", "0.00112", "77 acknowledged writes read back", "etcd-dv on udp", "SKIPPED cut, 3 members, 1 writers: it needs root"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	plots := Plots([]Result{r, skipped(cell{Cut, 3, 1}, errors.New("x"))})
	if len(plots) != 1 || len(plots[0].Rows) != 1 || !plots[0].Less {
		t.Fatalf("%+v", plots)
	}
	var svg strings.Builder
	if err := plots[0].WriteSVG(&svg); err != nil || !strings.Contains(svg.String(), "kill, 3 members, 1 writers") {
		t.Errorf("%v: %s", err, svg.String())
	}
	if Plots([]Result{skipped(cell{Cut, 3, 1}, errors.New("x"))}) != nil {
		t.Error("a plot of nothing")
	}
}

func TestCSV(t *testing.T) {
	var out strings.Builder
	c := NewCSV(&out)
	c.Add(someTrials().stock[1])
	want := "fault,members,writers,trial,side,ms,within,terms,changes\nkill,3,1,2,stock,15000.000,false,1,1\n"
	if out.String() != want || c.Err() != nil {
		t.Errorf("%q, %v", out.String(), c.Err())
	}
	if broken := NewCSV(brokenWriter{}); broken.Err() == nil {
		t.Error("a file that cannot be written is no error")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestOtherTables(t *testing.T) {
	var out strings.Builder
	if err := WriteQuietTable(&out, []QuietResult{
		{Members: 3, Writers: 32, Throttle: 20, Seconds: 60, Stock: QuietNumbers{Changes: 4}, DV: QuietNumbers{Changes: 3}},
		{Throttle: 20, Skipped: "it needs root"},
	}); err != nil || !strings.Contains(out.String(), "20%") || !strings.Contains(out.String(), "SKIPPED, throttled to 20%: it needs root") {
		t.Errorf("%v:\n%s", err, out.String())
	}
	out.Reset()
	if err := WriteAttackTable(&out, []AttackResult{{Trial: 1, Seconds: 30, EveryMs: 50, Stock: AttackNumbers{Sent: 600, Refused: 2, BeforePS: 900}, DV: AttackNumbers{DuringPS: 850}}}); err != nil ||
		!strings.Contains(out.String(), "600 (2)") || !strings.Contains(out.String(), "850.0") {
		t.Errorf("%v:\n%s", err, out.String())
	}
}

// Goals: what keeps them passes, what misses them does not.
func TestGoals(t *testing.T) {
	good := Numbers{P50Ms: 14, P99Ms: 49, MaxMs: 60}
	for name, tc := range map[string]struct {
		check interface{ Check() error }
		want  string
	}{
		"kept":             {Result{Fault: Kill, Writers: 1, DV: good}, ""},
		"p50":              {Result{Fault: Kill, Writers: 1, DV: Numbers{P50Ms: 16, P99Ms: 49}}, "p50 16.0 ms, want at most 15"},
		"p99":              {Result{Fault: Stop, Writers: 1, DV: Numbers{P50Ms: 16, P99Ms: 121}}, "p99 121.0 ms"},
		"stall":            {Result{Fault: Stall, Writers: 1, DV: Numbers{P50Ms: 900, P99Ms: 1100, MaxMs: 1199}}, ""},
		"stall late":       {Result{Fault: Stall, Writers: 1, DV: Numbers{MaxMs: 1201}}, "max 1201.0 ms"},
		"never":            {Result{Fault: Stall, Writers: 1, DV: Numbers{NotWithin: 1}}, "no write in 1 trials"},
		"not measured":     {Result{Fault: Cut, Writers: 1, Skipped: "root"}, "was not measured"},
		"no goal":          {Result{Fault: Kill, Writers: 16, DV: Numbers{P50Ms: 1000}}, ""},
		"quiet":            {QuietResult{Stock: QuietNumbers{Changes: 5}}, ""},
		"not quiet":        {QuietResult{Stock: QuietNumbers{Changes: 5}, DV: QuietNumbers{Changes: 1}}, "1 changes of leader"},
		"throttled":        {QuietResult{Throttle: 20, Stock: QuietNumbers{Changes: 5}, DV: QuietNumbers{Changes: 5}}, ""},
		"throttled, worse": {QuietResult{Throttle: 20, Stock: QuietNumbers{Changes: 5}, DV: QuietNumbers{Changes: 6}}, "want at most 5"},
		"not throttled":    {QuietResult{Throttle: 20, Skipped: "root"}, "was not measured"},
		"attack":           {AttackResult{DV: AttackNumbers{BeforePS: 100, DuringPS: 50}}, ""},
		"attack, worse":    {AttackResult{DV: AttackNumbers{BeforePS: 100, DuringPS: 49}}, "under attack"},
	} {
		err := tc.check.Check()
		if tc.want == "" && err != nil || tc.want != "" && (!errors.Is(err, ErrMissed) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every field of the JSON is in docs/performance.md.
func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	for title, results := range map[string][]any{
		"Failover": {Result{}, QuietResult{}, AttackResult{}}, "Partitions": {PartitionResult{}}, "Packets": {MessagesResult{}}, "Joining": {JoinResult{}},
	} {
		_, section, _ := strings.Cut(string(text), "\n## "+title+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		for _, r := range results {
			names := fields(reflect.TypeOf(r))
			if len(names) < 10 {
				t.Errorf("%T: only %v", r, names)
			}
			for _, n := range names {
				if !strings.Contains(section, "`"+n+"`") {
					t.Errorf("%s: %s is not documented", title, n)
				}
			}
		}
	}
	if _, err := json.Marshal(someTrials().result(Config{})); err != nil {
		t.Error(err)
	}
}

func fields(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct {
			names = append(names, fields(f.Type)...)
		}
		if name != "" && !strings.HasSuffix(name, "_lo") && !strings.HasSuffix(name, "_hi") {
			names = append(names, name)
		}
	}
	return names
}
