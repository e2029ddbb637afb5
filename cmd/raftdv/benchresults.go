package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/bench"
)

// progress writes lines with the time since the start.
func progress(w io.Writer) func(string, ...any) {
	begin := time.Now()
	return func(format string, args ...any) {
		fmt.Fprintf(w, "[%4.0fs] %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
}

// benchOutput is what the commands that measure have in common.
type benchOutput struct {
	asJSON bool
	svg    string
}

func (o *benchOutput) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.asJSON, "json", false, "print one JSON object for each comparison, as it is done (fields: docs/performance.md)")
	cmd.Flags().StringVar(&o.svg, "svg", "", "folder to draw the ratios and their intervals into, one SVG file for each quantity")
}

// results prints JSON objects as they come, or one table at the end, and draws
// plots.
type results[R any] struct {
	benchOutput
	w, said io.Writer
	enc     *json.Encoder // nil for a table
	table   func(io.Writer, []R) error
	plots   func([]R) []bench.Plot
	all     []R
	err     error
}

func newResults[R any](cmd *cobra.Command, o benchOutput, table func(io.Writer, []R) error, plots func([]R) []bench.Plot) (*results[R], error) {
	// Now, not after minutes of measuring.
	if o.svg != "" {
		if err := os.MkdirAll(o.svg, 0o755); err != nil {
			return nil, fmt.Errorf("--svg: %w: name a folder that can be made or written to", err)
		}
	}
	r := &results[R]{benchOutput: o, w: cmd.OutOrStdout(), said: cmd.ErrOrStderr(), table: table, plots: plots}
	if o.asJSON {
		r.enc = json.NewEncoder(r.w)
	}
	return r, nil
}

func (r *results[R]) add(one R) {
	r.all = append(r.all, one)
	if r.enc != nil && r.err == nil {
		r.err = r.enc.Encode(one)
	}
}

// finish writes the table of what was measured and draws it, also of a run that
// failed.
func (r *results[R]) finish(err error) error {
	errs := []error{err}
	if r.enc == nil && len(r.all) > 0 {
		r.err = r.table(r.w, r.all)
	}
	errs = append(errs, r.err)
	if r.svg != "" && len(r.all) > 0 {
		names, err := bench.SavePlots(r.svg, r.plots(r.all))
		for _, name := range names {
			fmt.Fprintln(r.said, "wrote", name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
