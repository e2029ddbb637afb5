package storm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"math"
	"os"
	"path/filepath"
)

// Files that a report writes beside the results and the plots.
const (
	jsonFile   = "results.json"
	replayFile = "REPLAY"
)

// ReportFile is the page that a run's folder has in the end.
const ReportFile = "report.html"

// A Row is a line of the tables: a metric of the cells of one kind.
type Row struct {
	Transport string   `json:"transport"`
	Fault     string   `json:"fault,omitempty"` // "": all of them
	Metric    string   `json:"metric"`
	Unit      string   `json:"unit"`
	Trials    uint64   `json:"trials"` // that have it
	Median    *float64 `json:"median"`
	Lo        *float64 `json:"median_lo"` // of its 95% bootstrap interval
	Hi        *float64 `json:"median_hi"`
	Mean      *float64 `json:"mean"`
	P99       *float64 `json:"p99"`
	Max       *float64 `json:"max"`
}

// Rows are all tables: each metric of each transport, in all and by fault.
func (sum *Summary) Rows() (rows []Row) {
	number := func(x float64) *float64 {
		if math.IsNaN(x) {
			return nil
		}
		return &x
	}
	for _, fault := range append([]string{""}, FaultNames()...) {
		for _, name := range TransportNames() {
			for m := range metrics {
				s, cells := sum.of(m, func(c *Cell) bool {
					return c.Value("transport") == name && (fault == "" || c.Value("fault") == fault)
				})
				if cells == 0 {
					continue
				}
				i := s.median()
				rows = append(rows, Row{name, fault, metrics[m].name, metrics[m].unit, s.n, number(i.Median), number(i.Lo), number(i.Hi), number(s.stat("mean")), number(s.stat("p99")), number(s.stat("max"))})
			}
		}
	}
	return rows
}

// Report writes results.json, the plots, report.html and the commands that replay
// trials into the folder of a run.
func (sum *Summary) Report(dir, tool string) error {
	meta, err := ReadMeta(dir)
	if err != nil {
		return err
	}
	type verdict struct {
		Expect string `json:"expect"`
		Holds  bool   `json:"holds"`
		// NotMeasured with real processes: then Holds says nothing.
		NotMeasured bool     `json:"not_measured,omitempty"`
		Got         *float64 `json:"got"`
		Trial       *int64   `json:"trial,omitempty"`
	}
	out := struct {
		Name     string    `json:"name"`
		Claim    string    `json:"claim"`
		Trials   uint64    `json:"trials"`
		Failed   uint64    `json:"failed"`
		Verdicts []verdict `json:"verdicts"`
		Rows     []Row     `json:"rows"`
		Meta
	}{sum.Spec.Name, sum.Spec.Claim, sum.Trials, sum.Failed, nil, sum.Rows(), meta}
	for i := range sum.Verdicts {
		v := &sum.Verdicts[i]
		j := verdict{Expect: v.Text, Holds: v.Holds, NotMeasured: v.Unmeasured}
		if !math.IsNaN(v.Got) {
			j.Got = &v.Got
		}
		if v.Example >= 0 {
			j.Trial = &v.Example
		}
		out.Verdicts = append(out.Verdicts, j)
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		return err
	}
	errs := []error{os.WriteFile(filepath.Join(dir, jsonFile), append(b, '\n'), 0o644)}
	plots := sum.Plots()
	for _, p := range plots {
		errs = append(errs, os.WriteFile(filepath.Join(dir, p.File), p.SVG, 0o644))
	}
	page, err := sum.page(&meta, plots)
	errs = append(errs, err, os.WriteFile(filepath.Join(dir, ReportFile), page, 0o644), sum.replays(dir, tool))
	return errors.Join(errs...)
}

// replays writes a command for each trial.
func (sum *Summary) replays(dir, tool string) error {
	if sum.Spec.Real { // processes do not repeat what they did
		return nil
	}
	f, err := os.Create(filepath.Join(dir, replayFile))
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for i := range sum.Spec.Trials() {
		fmt.Fprintf(&b, "%s storm replay %q %d\n", tool, dir, i)
		if b.Len() > 1<<20 {
			if _, err := b.WriteTo(f); err != nil {
				return errors.Join(err, f.Close())
			}
		}
	}
	_, err = b.WriteTo(f)
	return errors.Join(err, f.Close())
}

func (sum *Summary) page(meta *Meta, plots []Plot) ([]byte, error) {
	type figure struct {
		Title string
		SVG   template.HTML
	}
	data := struct {
		*Summary
		Clock   string
		Meta    *Meta
		Figures []figure
		Rows    []Row
		Text    string
	}{sum, sum.Spec.clock(), meta, nil, sum.Rows(), string(sum.Spec.Text)}
	for _, p := range plots {
		data.Figures = append(data.Figures, figure{p.Title, template.HTML(p.SVG)}) // our own, with its texts escaped
	}
	var b bytes.Buffer
	err := page.Execute(&b, data)
	return b.Bytes(), err
}

var page = template.Must(template.New("report").Funcs(template.FuncMap{"num": func(x *float64) string {
	if x == nil {
		return "–"
	}
	return number4(*x)
}}).Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{.Spec.Name}}</title>
<style>
:root{color-scheme:light dark;--fg:#1c1f23;--bg:#fff;--faint:#666;--line:#ddd;--ok:#00704f;--bad:#b3261e}
@media (prefers-color-scheme:dark){:root{--fg:#e6e6e6;--bg:#14171a;--faint:#a0a0a0;--line:#333a41;--ok:#3ecf9e;--bad:#ff8a80}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--fg);background:var(--bg);max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}.faint{color:var(--faint)}table{border-collapse:collapse;font-size:.9rem;margin:1rem 0;width:100%}
td,th{text-align:right;padding:.2rem .5rem;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}td:first-child,th:first-child,.l{text-align:left}
.ok{color:var(--ok);font-weight:600}.bad{color:var(--bad);font-weight:600}figure{margin:1.5rem 0}svg{width:100%;height:auto;border:1px solid var(--line);border-radius:6px}
pre{overflow:auto;border:1px solid var(--line);border-radius:6px;padding:.8rem;font-size:.85rem}details{margin:1rem 0}
@media print{:root{--fg:#000;--bg:#fff;--faint:#444;--line:#bbb;--ok:#000;--bad:#000}body{max-width:none;margin:0}figure,tr{break-inside:avoid}details{display:none}}
</style></head><body>
<h1>{{.Spec.Name}}</h1><p>{{.Spec.Claim}}</p>
<p class="faint">{{.Trials}} trials, {{.Failed}} failed; {{.Clock}}. {{.Meta.Version}}; {{.Meta.Machine}}.</p>
<h2>Expected</h2>
<table><tr><th>expectation</th><th></th><th>is</th><th>compared with</th><th>trials</th><th>example</th></tr>
{{range .Verdicts}}<tr><td>{{.Text}}</td><td class="{{if .Unmeasured}}faint{{else if .Holds}}ok{{else}}bad{{end}}">{{.Word}}</td><td>{{printf "%.4g" .Got}}</td><td>{{printf "%.4g" .Want}}</td><td>{{.Trials}}</td><td>{{if ge .Example 0}}trial {{.Example}}{{end}}</td></tr>
{{end}}</table>
{{range .Figures}}<figure>{{.SVG}}</figure>
{{end}}<h2>Results</h2>
<table><tr><th>transport</th><th class="l">fault</th><th class="l">metric</th><th>trials</th><th>median</th><th>95%</th><th>mean</th><th>p99</th><th>most</th></tr>
{{range .Rows}}<tr><td>{{.Transport}}</td><td class="l">{{if .Fault}}{{.Fault}}{{else}}all{{end}}</td><td class="l">{{.Metric}} ({{.Unit}})</td><td>{{.Trials}}</td><td>{{num .Median}}</td><td>{{num .Lo}}–{{num .Hi}}</td><td>{{num .Mean}}</td><td>{{num .P99}}</td><td>{{num .Max}}</td></tr>
{{end}}</table>
<details><summary>Specification</summary><pre>{{.Text}}</pre></details>
</body></html>
`))
