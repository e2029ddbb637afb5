package bench

import (
	_ "embed"
	"fmt"
	"io"
	"math"
	"slices"
	"text/template"
	"unicode/utf8"
)

// A Plot shows ratios with their intervals, one row each, on a logarithmic axis
// with a line at 1: so half and twice are equally far from it.
type Plot struct {
	// Name of the file, without its extension.
	Name string
	// Title says what was measured, Setting and Note how.
	Title, Setting, Note string
	// Less: a ratio below 1 is the better one.
	Less bool
	Rows []PlotRow
	Origin
}

// PlotRow is one comparison.
type PlotRow struct {
	Label string
	Interval
}

// Lengths in pixels. A letter is taken to be as wide as a wide one of the font,
// so that no label is cut whatever font a reader has.
const (
	plotMargin = 20
	plotLetter = 7.2 // of 12 px
	plotSmall  = 6.3 // of 11 px
	plotTitle  = 9.6 // of 16 px
	plotAxis   = 420
	plotRow    = 22
	plotTop    = 110
	plotBottom = 76
	// labelGap is the least room between two labels of the axis.
	labelGap = 8
)

// Bounds of the axis: what lies beyond is drawn at its end, and its number says
// what it is.
const (
	leastRatio = 1.0 / 1024
	mostRatio  = 1024
)

//go:embed plot.svg.tmpl
var plotText string

var plotTemplate = template.Must(template.New("plot").Parse(plotText))

// WriteSVG draws the plot as SVG 1.1 with CSS for light and dark. A row without
// a ratio is left out.
func (p Plot) WriteSVG(w io.Writer) error {
	if err := plotTemplate.Execute(w, p.layout()); err != nil {
		return fmt.Errorf("draw %s: %w", p.Name, err)
	}
	return nil
}

// drawing is a Plot with the places of all that it shows.
type drawing struct {
	Plot
	Width, Height         float64
	Left, Right, Top, End float64 // of the axes
	One                   float64 // where 1 is
	LabelX, ValueX        float64
	Better, Worse         string
	Ticks                 []drawnTick
	Drawn                 []drawnRow
}

type drawnTick struct {
	X    float64
	Text string // "" for a line without label
}

type drawnRow struct {
	Label, Value string
	Y, X, Lo, Hi float64
	// Open: the interval holds 1.
	Open bool
}

func (p Plot) layout() drawing {
	rows := slices.DeleteFunc(slices.Clone(p.Rows), func(r PlotRow) bool { return !(r.Median > 0) })
	d := drawing{Plot: p, Top: plotTop, Better: "better →", Worse: "← worse"}
	if p.Less {
		d.Better, d.Worse = "worse →", "← better"
	}
	label, value := 0, 0
	for _, r := range rows {
		label = max(label, utf8.RuneCountInString(r.Label))
		value = max(value, utf8.RuneCountInString(r.text()))
	}
	d.LabelX = plotMargin + float64(label)*plotLetter
	d.Left = d.LabelX + plotMargin
	d.Right = d.Left + plotAxis
	d.ValueX = d.Right + plotMargin
	d.Width = d.ValueX + float64(value)*plotLetter + plotMargin
	for text, letter := range map[string]float64{p.Title: plotTitle, p.Setting: plotLetter, p.Note: plotLetter, "raftdv " + p.Version: plotSmall, p.Machine: plotSmall} {
		d.Width = math.Ceil(max(d.Width, float64(utf8.RuneCountInString(text))*letter+2*plotMargin))
	}
	d.End = d.Top + float64(len(rows))*plotRow
	d.Height = d.End + plotBottom
	a := axisOf(rows)
	d.One = d.place(a, 1)
	d.Ticks = d.ticks(a)
	for i, r := range rows {
		d.Drawn = append(d.Drawn, drawnRow{
			Label: r.Label, Value: r.text(), Open: r.Contains(1), Y: d.Top + (float64(i)+0.5)*plotRow,
			X: d.place(a, r.Median), Lo: d.place(a, r.Lo), Hi: d.place(a, r.Hi),
		})
	}
	return d
}

// ticks has labels where there is room; 1 always has its own.
func (d *drawing) ticks(a axis) (ticks []drawnTick) {
	const half = 0.5 * plotSmall
	free := math.Inf(-1) // from here on
	for _, t := range a {
		tick, text := drawnTick{X: d.place(a, t)}, fmt.Sprintf("%.4g×", t)
		w := half * float64(utf8.RuneCountInString(text))
		beside := math.Abs(tick.X-d.One) >= w+half*float64(len("1×"))+labelGap
		if t == 1 || beside && tick.X-w >= free {
			tick.Text, free = text, tick.X+w+labelGap
		}
		ticks = append(ticks, tick)
	}
	return ticks
}

func (r PlotRow) text() string { return interval(r.Median, r.Lo, r.Hi) }

// place is where a ratio is, to a hundredth of a pixel.
func (d *drawing) place(a axis, ratio float64) float64 {
	low, high := math.Log(a[0]), math.Log(a[len(a)-1])
	at := (math.Log(min(max(ratio, a[0]), a[len(a)-1])) - low) / (high - low)
	return math.Round((d.Left+at*plotAxis)*100) / 100
}

// axis has the ticks from one end to the other.
type axis []float64

// fineTicks are for ratios that lie close together.
var fineTicks = axis{0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.4, 1.6, 1.8, 2}

// axisOf holds all rows and 1, and a little more.
func axisOf(rows []PlotRow) axis {
	low, high := 0.8, 1.25
	for _, r := range rows {
		low, high = min(low, r.Lo, r.Median), max(high, r.Hi, r.Median)
	}
	low, high = max(low, leastRatio), min(high, mostRatio)
	if from, to, ok := cut(fineTicks, low, high); ok {
		return fineTicks[from : to+1]
	}
	var coarse axis
	for t := leastRatio; t <= mostRatio; t *= 2 {
		coarse = append(coarse, t)
	}
	from, to, _ := cut(coarse, low, high)
	return coarse[from : to+1]
}

// cut finds the ticks around low and high; false if the axis does not reach.
func cut(a axis, low, high float64) (from, to int, ok bool) {
	for i, t := range a {
		if t <= low {
			from = i
		}
		if t < high {
			to = min(i+1, len(a)-1)
		}
	}
	return from, to, a[0] <= low && high <= a[len(a)-1]
}
