package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// seen is what a reader of an SVG file finds in it.
type seen struct {
	width, height float64
	labels        []string
	values        []string
	marks         []float64
	open          []bool
	bars          [][2]float64
	ticks         map[float64]float64 // ratio → x
	texts         []seenText
}

type seenText struct {
	class, anchor, text string
	x, y                float64
}

// readSVG fails if the text is not well-formed.
func readSVG(svg []byte) (s seen, err error) {
	s.ticks = map[float64]float64{}
	d := xml.NewDecoder(bytes.NewReader(svg))
	d.Strict = true
	var text *seenText
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		switch token := token.(type) {
		case xml.StartElement:
			text = nil
			if token.Name.Local == "text" {
				s.texts = append(s.texts, seenText{class: attr(token, "class"), anchor: attr(token, "text-anchor"), x: number(token, "x"), y: number(token, "y") + number(token, "dy")})
				text = &s.texts[len(s.texts)-1]
			}
			s.shape(token)
		case xml.EndElement:
			if text != nil {
				s.label(*text)
			}
			text = nil
		case xml.CharData:
			if text != nil {
				text.text += string(token)
			}
		}
	}
}

func attr(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

func number(e xml.StartElement, name string) float64 {
	x, err := strconv.ParseFloat(attr(e, name), 64)
	if err != nil && attr(e, name) != "" {
		return math.NaN()
	}
	return x
}

func (s *seen) shape(e xml.StartElement) {
	switch class := attr(e, "class"); {
	case e.Name.Local == "svg":
		s.width, s.height = number(e, "width"), number(e, "height")
	case e.Name.Local == "circle":
		s.marks = append(s.marks, number(e, "cx"))
		s.open = append(s.open, strings.Contains(class, "open"))
	case class == "bar":
		s.bars = append(s.bars, [2]float64{number(e, "x1"), number(e, "x2")})
	}
}

func (s *seen) label(t seenText) {
	switch {
	case t.class == "value":
		s.values = append(s.values, t.text)
	case t.class == "label":
		s.labels = append(s.labels, t.text)
	case strings.HasPrefix(t.class, "tick"):
		ratio, err := strconv.ParseFloat(strings.TrimSuffix(t.text, "×"), 64)
		if err != nil {
			ratio = math.NaN()
		}
		s.ticks[ratio] = t.x
	}
}

// ratio is what a place on the axis means, by its labels alone.
func (s *seen) ratio(x float64) float64 {
	low, high := math.Inf(1), math.Inf(-1)
	for r := range s.ticks {
		low, high = min(low, r), max(high, r)
	}
	at := (x - s.ticks[low]) / (s.ticks[high] - s.ticks[low])
	return math.Exp(math.Log(low) + at*(math.Log(high)-math.Log(low)))
}

// checkPlot compares a picture with the table of the same results: one mark for
// each of want comparisons, where the table has the numbers that stand beside
// it, at the place that they say.
func checkPlot(svg []byte, table string, want int) error {
	s, err := readSVG(svg)
	if err != nil {
		return fmt.Errorf("not well-formed: %w", err)
	}
	if len(s.marks) != want || len(s.bars) != want || len(s.values) != want || len(s.labels) != want {
		return fmt.Errorf("%d marks, %d bars, %d values and %d labels for %d comparisons", len(s.marks), len(s.bars), len(s.values), len(s.labels), want)
	}
	if _, ok := s.ticks[1]; !ok || len(s.ticks) < 2 {
		return fmt.Errorf("the axis has labels for %v", s.ticks)
	}
	for i, v := range s.values {
		at := strings.Index(table, v)
		if at < 0 {
			return fmt.Errorf("row %d: the table does not have %s", i, v)
		}
		table = table[at+len(v):]
		var median, lo, hi float64
		if _, err := fmt.Sscanf(v, "%f (%f–%f)", &median, &lo, &hi); err != nil {
			return fmt.Errorf("row %d: %q: %w", i, v, err)
		}
		for what, p := range map[string][2]float64{"mark": {s.ratio(s.marks[i]), median}, "lower end": {s.ratio(s.bars[i][0]), lo}, "upper end": {s.ratio(s.bars[i][1]), hi}} {
			if math.Abs(p[0]-p[1]) > 0.006+0.001*p[1] { // half of the last digit, and of a pixel
				return fmt.Errorf("row %d: the %s is at %.3f, beside it stands %s", i, what, p[0], v)
			}
		}
		if s.open[i] != (lo <= 1 && 1 <= hi) {
			return fmt.Errorf("row %d: open is %v at %s", i, s.open[i], v)
		}
	}
	return nil
}

// checkTexts finds labels that are cut or lie on each other, if every letter is
// as wide as half of its height and a bit.
func checkTexts(svg []byte) error {
	s, err := readSVG(svg)
	if err != nil {
		return err
	}
	type box struct{ left, right, y float64 }
	var boxes []box
	for _, t := range s.texts {
		letter := 7.0
		switch {
		case t.class == "title":
			letter = 9.5
		case strings.Contains(t.class, "small"):
			letter = 6.2
		}
		w := letter * float64(len([]rune(t.text)))
		b := box{t.x, t.x + w, t.y}
		switch t.anchor {
		case "end":
			b.left, b.right = t.x-w, t.x
		case "middle":
			b.left, b.right = t.x-w/2, t.x+w/2
		}
		if b.left < 0 || b.right > s.width || b.y < 10 || b.y > s.height-4 {
			return fmt.Errorf("%q is cut: %v in %v × %v", t.text, b, s.width, s.height)
		}
		for i, o := range boxes {
			if math.Abs(o.y-b.y) < 13 && o.left < b.right && b.left < o.right {
				return fmt.Errorf("%q lies on %q", t.text, s.texts[i].text)
			}
		}
		boxes = append(boxes, b)
	}
	return nil
}

var plotOrigin = Origin{"v0.0.0-20260102030405-0123456789ab+dirty", "2 processors, amd64, Linux 6.18.44-a-rather-long-name-of-a-kernel, go1.26.8"}

// plotTables are results of all kinds with their tables.
func plotSamples(t *testing.T) map[string]struct {
	plots []Plot
	table string
	marks []int
} {
	t.Helper()
	var transports []TransportResult
	for i, port := range TransportPorts() {
		r := TransportResult{Port: port, Members: 3 + 2*(i%3), Sealed: i%2 == 1, Size: 256, Window: 256, Pairs: 6, Origin: plotOrigin}
		x := 0.2 * float64(i+1)
		Interval{2 / x, 1.8 / x, 2.5 / x}.into(&r.RatioDeliveries, &r.RatioDeliveriesLo, &r.RatioDeliveriesHi)
		Interval{x, 0.9 * x, 1.1 * x}.into(&r.RatioCPU, &r.RatioCPULo, &r.RatioCPUHi)
		Interval{x, 0.5 * x, 1.5 * x}.into(&r.RatioRTTBlock, &r.RatioRTTBlockLo, &r.RatioRTTBlockHi)
		if i%2 == 0 {
			r.RTTSpinUs = 1
			Interval{x, x, x}.into(&r.RatioRTTSpin, &r.RatioRTTSpinLo, &r.RatioRTTSpinHi)
		}
		transports = append(transports, r)
	}
	var rafts []RaftResult
	var etcds []EtcdResult
	for i := range 5 {
		x := 1 + 0.05*float64(i)
		r := RaftResult{Port: "udp", Members: 3, InFlight: 1 << i, Size: 256, Pairs: 6, Origin: plotOrigin}
		e := EtcdResult{Members: 3, Clients: 1 << i, Value: 256, Paths: "stream,udp", Storage: "memory", Pairs: 10, Origin: plotOrigin}
		Interval{x, 0.95 * x, 1.2 * x}.into(&r.RatioCommits, &r.RatioCommitsLo, &r.RatioCommitsHi)
		Interval{1 / x, 0.8 / x, 1.2 / x}.into(&r.RatioP50, &r.RatioP50Lo, &r.RatioP50Hi)
		Interval{3 * x, 0.1 * x, 20 * x}.into(&r.RatioP99, &r.RatioP99Lo, &r.RatioP99Hi)
		Interval{x, x, x}.into(&r.RatioCPU, &r.RatioCPULo, &r.RatioCPUHi)
		e.RatioPuts, e.RatioPutsLo, e.RatioPutsHi = r.RatioCommits, r.RatioCommitsLo, r.RatioCommitsHi
		e.RatioP50, e.RatioP50Lo, e.RatioP50Hi = r.RatioP50, r.RatioP50Lo, r.RatioP50Hi
		e.RatioP99, e.RatioP99Lo, e.RatioP99Hi = r.RatioP99, r.RatioP99Lo, r.RatioP99Hi
		e.RatioCPU, e.RatioCPULo, e.RatioCPUHi = r.RatioCPU, r.RatioCPULo, r.RatioCPUHi
		rafts, etcds = append(rafts, r), append(etcds, e)
	}
	table := func(write func(io.Writer) error) string {
		var b strings.Builder
		if err := write(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	n := len(transports)
	return map[string]struct {
		plots []Plot
		table string
		marks []int
	}{
		"transport": {TransportPlots(transports), table(func(w io.Writer) error { return WriteTransportTable(w, transports) }), []int{n, n, n, (n + 1) / 2}},
		"raft":      {RaftPlots(rafts), table(func(w io.Writer) error { return WriteRaftTable(w, rafts) }), []int{5, 5, 5, 5}},
		"etcd":      {EtcdPlots(etcds), table(func(w io.Writer) error { return WriteEtcdTable(w, etcds) }), []int{5, 5, 5, 5}},
	}
}

func svgOf(t *testing.T, p Plot) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Every plot says what its table says, and its labels can be read.
func TestPlots(t *testing.T) {
	for what, s := range plotSamples(t) {
		if len(s.plots) != len(s.marks) {
			t.Fatalf("%s: %d plots", what, len(s.plots))
		}
		for i, p := range s.plots {
			svg := svgOf(t, p)
			if err := checkPlot(svg, s.table, s.marks[i]); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
			if err := checkTexts(svg); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
			for _, want := range []string{p.Title, p.Setting, p.Note, plotOrigin.Machine, plotOrigin.Version, "prefers-color-scheme: dark"} {
				if want == "" || !bytes.Contains(svg, []byte(want)) {
					t.Errorf("%s: nothing of %q", p.Name, want)
				}
			}
		}
	}
}

// The control: pictures that do not fit are seen.
func TestPlotChecksSee(t *testing.T) {
	s := plotSamples(t)["raft"]
	good := svgOf(t, s.plots[0])
	row := func(svg []byte) (from, to int) {
		from = bytes.Index(svg, []byte(`<g class="row">`))
		return from, from + bytes.Index(svg[from:], []byte("</g>")) + len("</g>\n")
	}
	for name, tc := range map[string]struct {
		change func([]byte) []byte
		want   string
	}{
		"another number": {func(b []byte) []byte { return bytes.Replace(b, []byte(">1.00 ("), []byte(">1.01 ("), 1) }, "the table does not have 1.01"},
		"no mark":        {func(b []byte) []byte { return bytes.Replace(b, []byte("<circle"), []byte("<ellipse"), 1) }, "4 marks"},
		"a row less": {func(b []byte) []byte {
			from, to := row(b)
			return slices.Delete(slices.Clone(b), from, to)
		}, "4 marks, 4 bars"},
		"a row twice": {func(b []byte) []byte {
			from, to := row(b)
			return slices.Insert(slices.Clone(b), to, b[from:to]...)
		}, "6 marks"},
		"a mark elsewhere": {func(b []byte) []byte { return bytes.Replace(b, []byte(`cx="`), []byte(`cx="1`), 1) }, "the mark is at"},
		"a bar elsewhere": {func(b []byte) []byte {
			return bytes.Replace(b, []byte(`class="bar" x1="`), []byte(`class="bar" x1="1`), 1)
		}, "the lower end is at"},
		"filled":       {func(b []byte) []byte { return bytes.Replace(b, []byte(`"mark open"`), []byte(`"mark"`), 1) }, "open is false"},
		"cut short":    {func(b []byte) []byte { return b[:len(b)-8] }, "not well-formed"},
		"no line at 1": {func(b []byte) []byte { return bytes.Replace(b, []byte(`>1×<`), []byte(`>1.01×<`), 1) }, "the axis has labels for"},
	} {
		changed := tc.change(good)
		if bytes.Equal(changed, good) {
			t.Errorf("%s: nothing was changed", name)
		}
		if err := checkPlot(changed, s.table, s.marks[0]); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	if err := checkPlot(good, plotSamples(t)["transport"].table, 5); err == nil {
		t.Error("the table of another run fits")
	}
	long := s.plots[0]
	long.Rows = slices.Clone(long.Rows)
	svg := svgOf(t, long)
	if err := checkTexts(bytes.Replace(svg, []byte(long.Rows[0].Label), []byte(strings.Repeat("long ", 20)), 1)); err == nil || !strings.Contains(err.Error(), "is cut") {
		t.Errorf("a label that is cut: %v", err)
	}
	if err := checkTexts(bytes.Replace(svg, []byte(">1×<"), []byte(">"+strings.Repeat("1", 30)+"<"), 1)); err == nil || !strings.Contains(err.Error(), "lies on") {
		t.Errorf("labels on each other: %v", err)
	}
}

// Whatever was measured is drawn: far off, equal, without a number, with signs
// that XML has for itself.
func TestPlotsOfOddities(t *testing.T) {
	p := Plot{Name: "odd", Title: `"a" < b & c`, Origin: plotOrigin, Rows: []PlotRow{
		{"far < off & 'so'", Interval{5000, 0.0001, 9000}},
		{"not measured", Interval{}},
		{"not a number", Interval{math.NaN(), math.NaN(), math.NaN()}},
		{"fine", Interval{1, 1, 1}},
	}}
	svg := svgOf(t, p)
	s, err := readSVG(svg)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.marks) != 2 || !slices.Equal(s.labels, []string{"far < off & 'so'", "fine"}) || s.values[0] != "5000.00 (0.00–9000.00)" {
		t.Errorf("%+v", s)
	}
	if s.ratio(s.marks[0]) > mostRatio*1.01 {
		t.Errorf("drawn beyond the axis: %v", s.ratio(s.marks[0]))
	}
	if err := checkTexts(svg); err != nil {
		t.Error(err)
	}
	if got := TransportPlots(nil); len(got) != 0 {
		t.Errorf("plots of nothing: %+v", got)
	}
}

func TestSavePlots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	names, err := SavePlots(dir, plotSamples(t)["etcd"].plots)
	if err != nil || len(names) != 4 {
		t.Fatal(names, err)
	}
	for _, name := range names {
		svg, err := os.ReadFile(name)
		if err != nil || filepath.Dir(name) != dir || !strings.HasPrefix(filepath.Base(name), "etcd-") {
			t.Error(name, err)
		}
		if _, err := readSVG(svg); err != nil {
			t.Error(name, err)
		}
	}
	if _, err := SavePlots(names[0], nil); err == nil {
		t.Error("a file was taken for a folder")
	}
	if err := os.Mkdir(filepath.Join(dir, "raft-p50.svg"), 0o755); err != nil {
		t.Fatal(err)
	}
	names, err = SavePlots(dir, plotSamples(t)["raft"].plots)
	if err == nil || len(names) != 1 {
		t.Errorf("wrote %v although one name is taken: %v", names, err)
	}
}
