package storm

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Plots are drawn as SVG, by themselves readable on light and on dark ground: colours
// are classes, which the style at the head of each gives a value for either.

// plotStyle: colours that people who confuse red and green tell apart (Okabe and Ito,
// Color Universal Design, 2008); darker on white, lighter on black.
const plotStyle = `
svg{font:13px system-ui,sans-serif;background:#fff}
text{fill:#222}.faint{fill:#666}.axis{stroke:#888;fill:none}.grid{stroke:#e4e4e4;fill:none}.mark{stroke:#222;stroke-dasharray:5 4;fill:none}
.line{fill:none;stroke-width:2}.whisker{stroke:#222;fill:none}
.s0{stroke:#0072b2}.s1{stroke:#d55e00}.s2{stroke:#009e73}.s3{stroke:#b0558a}.s4{stroke:#a87900}.s5{stroke:#3d8fc4}.s6{stroke:#555}
.f0{fill:#0072b2}.f1{fill:#d55e00}.f2{fill:#009e73}.f3{fill:#b0558a}.f4{fill:#a87900}.f5{fill:#3d8fc4}.f6{fill:#555}
@media (prefers-color-scheme:dark){
svg{background:#14171a}text{fill:#e6e6e6}.faint{fill:#a0a0a0}.axis{stroke:#8a8a8a}.grid{stroke:#2b3036}.mark,.whisker{stroke:#e6e6e6}
.s0{stroke:#56b4e9}.s1{stroke:#ff8c42}.s2{stroke:#3ecf9e}.s3{stroke:#e39ac3}.s4{stroke:#e6c14d}.s5{stroke:#9fd3f3}.s6{stroke:#bbb}
.f0{fill:#56b4e9}.f1{fill:#ff8c42}.f2{fill:#3ecf9e}.f3{fill:#e39ac3}.f4{fill:#e6c14d}.f5{fill:#9fd3f3}.f6{fill:#bbb}}
@media print{svg{background:#fff}text{fill:#000}.grid{stroke:#ddd}}`

const (
	plotWidth  = 760
	plotHeight = 380
	plotLeft   = 64
	plotRight  = 190 // legend
	plotTop    = 44
	plotBottom = 52
	barHeight  = 16
	barGap     = 12 // between groups
	barLeft    = 250
	colours    = 7 // that plotStyle has
)

// curve is a distribution in a plot.
type curve struct {
	name   string
	colour int
	points []Point
}

// countedUnits are those of whole numbers.
var countedUnits = []string{"rounds", "campaigns", "elections", "terms"}

// cdf draws distributions: for each x the share of trials that are not above it. mark
// is a vertical line, NaN for none.
func cdf(title, xLabel string, logarithmic bool, mark float64, markText string, curves []curve) []byte {
	low, high := math.Inf(1), math.Inf(-1)
	for _, c := range curves {
		low, high = min(low, c.points[0].X), max(high, c.points[len(c.points)-1].X)
	}
	least := 0.0
	if slices.Contains(countedUnits, xLabel) {
		least = 1
	}
	if !math.IsNaN(mark) {
		low, high = min(low, mark), max(high, mark+least) // what lies on the line is seen beside it
	}
	a := newAxis(low, high, least, logarithmic, plotLeft, plotWidth-plotRight)
	y := func(share float64) float64 { return plotHeight - plotBottom - share*(plotHeight-plotBottom-plotTop) }
	var b strings.Builder
	open(&b, title, plotWidth, plotHeight)
	for _, share := range []float64{0, 0.25, 0.5, 0.75, 1} {
		fmt.Fprintf(&b, `<path class="grid" d="M%d %.1fH%d"/><text class="faint" x="%d" y="%.1f" text-anchor="end">%g</text>`, plotLeft, y(share), plotWidth-plotRight, plotLeft-8, y(share)+4, share)
	}
	a.draw(&b, plotTop, plotHeight-plotBottom, xLabel)
	fmt.Fprintf(&b, `<text class="faint" transform="translate(16 %d) rotate(-90)" text-anchor="middle">share of trials</text>`, (plotHeight-plotBottom+plotTop)/2)
	for i, c := range curves {
		fmt.Fprintf(&b, `<path class="line s%d"%s d="M%.1f %.1f`, c.colour, dash(i), a.at(c.points[0].X), y(0))
		for _, p := range c.points {
			fmt.Fprintf(&b, `H%.1fV%.1f`, a.at(p.X), y(p.Share))
		}
		fmt.Fprintf(&b, `H%d"/>`, plotWidth-plotRight)
		ly := plotTop + 10 + 20*i
		fmt.Fprintf(&b, `<path class="line s%d"%s d="M%d %dh22"/><text x="%d" y="%d">%s</text>`, c.colour, dash(i), plotWidth-plotRight+14, ly, plotWidth-plotRight+42, ly+4, html.EscapeString(c.name))
	}
	if !math.IsNaN(mark) {
		fmt.Fprintf(&b, `<path class="mark" d="M%.1f %dV%d"/><text x="%.1f" y="%d" text-anchor="end">%s</text>`, a.at(mark), plotTop, plotHeight-plotBottom, a.at(mark)-5, plotHeight-plotBottom-8, html.EscapeString(markText))
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

// dash is how the i-th curve is drawn: one that lies on another one does not hide it.
func dash(i int) string {
	if i == 0 {
		return ""
	}
	return fmt.Sprintf(` stroke-dasharray="%s"`, [...]string{"9 4", "3 3", "9 3 3 3"}[(i-1)%3])
}

// bar is a median with its interval.
type bar struct {
	name   string
	colour int
	value  Interval
}

// barGroup is what is compared.
type barGroup struct {
	name string
	bars []bar
}

// bars draws medians with their 95% intervals, group by group.
func bars(title, xLabel string, groups []barGroup) []byte {
	height, low, high := plotTop+plotBottom, math.Inf(1), math.Inf(-1)
	for _, g := range groups {
		height += barGap + barHeight*len(g.bars)
		for _, r := range g.bars {
			low, high = min(low, r.value.Lo), max(high, r.value.Hi)
		}
	}
	a := newAxis(low, high, 0, low > 0 && high/low > 20, barLeft, plotWidth-70)
	var b strings.Builder
	open(&b, title, plotWidth, height)
	a.draw(&b, plotTop, height-plotBottom, xLabel)
	y := plotTop + barGap/2
	for _, g := range groups {
		fmt.Fprintf(&b, `<text x="8" y="%d" font-weight="600">%s</text>`, y+12, html.EscapeString(g.name))
		for _, r := range g.bars {
			x0, x := a.at(a.low), a.at(r.value.Median)
			fmt.Fprintf(&b, `<text class="faint" x="%d" y="%d" text-anchor="end">%s</text>`, barLeft-8, y+12, html.EscapeString(r.name))
			fmt.Fprintf(&b, `<rect class="f%d" x="%.1f" y="%d" width="%.1f" height="%d" rx="2"/>`, r.colour, x0, y+2, max(x-x0, 1), barHeight-5)
			fmt.Fprintf(&b, `<path class="whisker" d="M%.1f %.1fH%.1f"/>`, a.at(r.value.Lo), float64(y)+7.5, a.at(r.value.Hi))
			fmt.Fprintf(&b, `<text class="faint" x="%.1f" y="%d">%s</text>`, a.at(r.value.Hi)+6, y+12, number4(r.value.Median))
			y += barHeight
		}
		y += barGap
	}
	b.WriteString("</svg>\n")
	return []byte(b.String())
}

func open(b *strings.Builder, title string, width, height int) {
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s"><style>%s</style><text x="%d" y="24" font-size="15" font-weight="600">%s</text>`,
		width, height, html.EscapeString(title), plotStyle, 8, html.EscapeString(title))
}

// axis maps values to places.
type axis struct {
	low, high   float64
	logarithmic bool
	from, to    float64
	ticks       []float64
}

// newAxis spans low to high; ticks are least apart at least.
func newAxis(low, high, least float64, logarithmic bool, from, to int) *axis {
	a := &axis{logarithmic: logarithmic && low > 0, from: float64(from), to: float64(to)}
	if math.IsInf(low, 0) || math.IsInf(high, 0) { // there is nothing
		low, high = 0, 1
	}
	if a.logarithmic {
		a.low, a.high = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high*1.0001)))
		for t := a.low; t <= a.high*1.0001; t *= 10 {
			a.ticks = append(a.ticks, t)
		}
		return a
	}
	low = min(low, 0)
	if high <= low {
		high = low + 1
	}
	step := math.Pow(10, math.Floor(math.Log10(max(high-low, 1e-9)/4)))
	for _, k := range []float64{5, 2} { // the largest step that leaves four ticks
		if (high-low)/(k*step) >= 4 {
			step *= k
			break
		}
	}
	step = max(step, least)
	a.low = math.Floor(low/step) * step
	for t := a.low; ; t += step {
		a.ticks = append(a.ticks, t)
		if t >= high {
			a.high = t
			return a
		}
	}
}

func (a *axis) at(x float64) float64 {
	share := (x - a.low) / (a.high - a.low)
	if a.logarithmic {
		share = math.Log(x/a.low) / math.Log(a.high/a.low)
	}
	return a.from + min(max(share, 0), 1)*(a.to-a.from)
}

func (a *axis) draw(b *strings.Builder, top, bottom int, label string) {
	for _, t := range a.ticks {
		fmt.Fprintf(b, `<path class="grid" d="M%.1f %dV%d"/><text class="faint" x="%.1f" y="%d" text-anchor="middle">%s</text>`, a.at(t), top, bottom, a.at(t), bottom+18, tick(t))
	}
	fmt.Fprintf(b, `<path class="axis" d="M%.1f %dH%.1f"/><text class="faint" x="%.1f" y="%d" text-anchor="middle">%s</text>`, a.from, bottom, a.to, (a.from+a.to)/2, bottom+38, html.EscapeString(label))
}

// tick writes a number below an axis.
func tick(x float64) string {
	if y := math.Abs(x); y >= 1e-3 && y < 1e6 {
		return strconv.FormatFloat(coarse(x), 'f', -1, 64)
	}
	return strconv.FormatFloat(coarse(x), 'g', 4, 64)
}

// A Plot is a drawing of a run, with the name of its file.
type Plot struct {
	File, Title string
	SVG         []byte
}

// Plots draws what the results come to.
func (sum *Summary) Plots() (all []Plot) {
	for _, p := range []struct {
		file, title, metric string
		logarithmic         bool
		mark                float64
		markText            string
	}{
		{"rounds", "Rounds of the worst election of each trial", "rounds", false, 3, "three"},
		{"time-to-leader", "From the fault to the next leader", "time_to_leader", true, math.NaN(), ""},
		{"unavailable", "Longest time without an acknowledged write", "unavailable", true, math.NaN(), ""},
	} {
		var curves []curve
		for i, name := range TransportNames() {
			s, _ := sum.of(metricIndex(p.metric), func(c *Cell) bool { return c.Value("transport") == name })
			if s.n > 0 {
				curves = append(curves, curve{name, i, s.points()})
			}
		}
		if len(curves) > 0 {
			all = append(all, Plot{p.file + ".svg", p.title, cdf(p.title, sum.Spec.unit(metricIndex(p.metric)), p.logarithmic, p.mark, p.markText, curves)})
		}
	}
	var groups []barGroup
	for _, fault := range FaultNames() {
		g := barGroup{name: fault}
		for i, name := range TransportNames() {
			s, _ := sum.of(metricIndex("unavailable"), func(c *Cell) bool { return c.Value("transport") == name && c.Value("fault") == fault })
			if s.n > 0 {
				g.bars = append(g.bars, bar{name, i, s.median()})
			}
		}
		if len(g.bars) > 0 {
			groups = append(groups, g)
		}
	}
	if len(groups) > 0 {
		const title = "Longest time without a write by fault: median, 95% interval"
		all = append(all, Plot{"faults.svg", title, bars(title, sum.Spec.unit(metricIndex("unavailable")), groups)})
	}
	return slices.Clip(all)
}
