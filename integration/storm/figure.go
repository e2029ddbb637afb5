package storm

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Figure is a drawing of a run that its report does not have.
type Figure struct {
	// Metric is what is drawn, By the dimension whose values are compared.
	Metric, By string
	// Over is a second dimension: medians with their intervals are drawn for each of
	// its values. "": distributions.
	Over string
	// Where are the cells that count; nil: all.
	Where map[string]string
	// Logarithmic is the axis of the metric.
	Logarithmic bool
}

// Validate lists what is wrong.
func (f *Figure) Validate() error {
	var errs []error
	if metricIndex(f.Metric) < 0 {
		errs = append(errs, fmt.Errorf("metric %q: use any of %s", f.Metric, strings.Join(metricNames(), ", ")))
	}
	for _, d := range []string{f.By, f.Over} {
		if d != "" && dimensionIndex(d) < 0 {
			errs = append(errs, fmt.Errorf("dimension %q: use any of %s", d, strings.Join(dimensionNames(), ", ")))
		}
	}
	if f.By == "" || f.By == f.Over {
		errs = append(errs, fmt.Errorf("by %q, over %q: name two dimensions, or one to compare by", f.By, f.Over))
	}
	return errors.Join(errs...)
}

// ErrNothingToDraw: no trial of a figure's cells has its metric.
var ErrNothingToDraw = errors.New("no trial of these cells has this metric")

// Draw draws a figure as SVG.
func (sum *Summary) Draw(f Figure) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	m := metricIndex(f.Metric)
	title := fmt.Sprintf("%s by %s", f.Metric, f.By)
	if f.Over != "" {
		title = fmt.Sprintf("%s by %s, over %s: median, 95%% interval", f.Metric, f.By, f.Over)
	}
	by := sum.Spec.values(f.By)
	of := func(where map[string]string) sample {
		all, _ := sum.of(m, func(c *Cell) bool { return c.Matches(f.Where) && c.Matches(where) })
		return all
	}
	if f.Over == "" {
		var curves []curve
		for i, v := range by {
			if s := of(map[string]string{f.By: v}); s.n > 0 {
				curves = append(curves, curve{v, i % colours, s.points()})
			}
		}
		if len(curves) == 0 {
			return nil, ErrNothingToDraw
		}
		return cdf(title, sum.Spec.unit(m), f.Logarithmic, math.NaN(), "", curves), nil
	}
	var groups []barGroup
	for _, over := range sum.Spec.values(f.Over) {
		g := barGroup{name: over}
		for i, v := range by {
			if s := of(map[string]string{f.By: v, f.Over: over}); s.n > 0 {
				g.bars = append(g.bars, bar{v, i % colours, s.median()})
			}
		}
		if len(g.bars) > 0 {
			groups = append(groups, g)
		}
	}
	if len(groups) == 0 {
		return nil, ErrNothingToDraw
	}
	return bars(title, sum.Spec.unit(m), groups), nil
}

// values are those that cells have of a dimension, in the order of the matrix.
func (s *Spec) values(dimension string) (all []string) {
	for i := range s.Cells {
		if v := s.Cells[i].Value(dimension); !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}
