package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/raftdv/dv/integration/storm"
)

// What is done with runs that are there.

func newStormMergeCmd() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "merge --dir=WHOLE PART...", Short: "Make one run of all its shards", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := storm.MergeAll(dir, args)
			if err != nil {
				return exitError{exitIncomplete, err}
			}
			return reportStorm(cmd.OutOrStdout(), s, dir)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "folder for the whole run")
	_ = cmd.MarkFlagRequired("dir") // it is there
	return cmd
}

func newStormReplayCmd() *cobra.Command {
	var trace bool
	cmd := &cobra.Command{
		Use: "replay RUN TRIAL", Short: "Run a trial of a run again, and compare", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, err := storm.Load(args[0])
			if err != nil {
				return err
			}
			trial, err := strconv.ParseUint(args[1], 10, 64)
			if err != nil || trial >= s.Trials() {
				return fmt.Errorf("trial %s: there are 0 to %d", args[1], s.Trials()-1)
			}
			return s.Replay(cmd.OutOrStdout(), args[0], trial, trace)
		},
	}
	cmd.Flags().BoolVar(&trace, "trace", false, "say first what happened when: faults, what arbiters do, who leads")
	return cmd
}

func newStormReportCmd() *cobra.Command {
	return &cobra.Command{
		Use: "report RUN", Short: "Say what the results of a run come to, and draw it anew", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, _, err := storm.Load(args[0])
			if err != nil {
				return exitError{exitBadSpec, err}
			}
			return reportStorm(cmd.OutOrStdout(), s, args[0])
		},
	}
}

func reportStorm(out io.Writer, s *storm.Spec, dir string) error {
	sum, partial, err := s.Summarize(dir)
	if err != nil {
		return exitError{exitIncomplete, err}
	}
	if err := errors.Join(sum.Write(out), sum.Report(dir, os.Args[0])); err != nil {
		return exitError{exitIncomplete, err}
	}
	fmt.Fprintf(out, "%s\n", filepath.Join(dir, storm.ReportFile))
	switch {
	case partial:
		return exitError{exitIncomplete, fmt.Errorf("%d of %d trials have results", sum.Trials, s.Trials())}
	case !sum.Measured():
		return exitError{exitIncomplete, errors.New("nothing of what was expected can be measured with real processes: expect something else of them, or nothing")}
	case !sum.Holds():
		return exitError{exitViolated, errors.New("not all that was expected holds")}
	}
	return nil
}

func newStormCompareCmd() *cobra.Command {
	var where string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "compare A B", Short: "Compare two runs pair by pair: medians, differences and ratios with their 95% intervals", Args: cobra.ExactArgs(2),
		Long: `Compare pairs the trials of two runs that have the same cell and seed, and says for
each metric what B does to it. The transport does not count where each run has one of
its own. An interval of B-A that holds 0, or of B/A that holds 1, shows no effect.`,
		Example: `  raftdv storm compare runs/before runs/after
  raftdv storm compare runs/stock runs/dv --where="members = 5 and fault = crash-leader"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			conditions, err := parseWhere(where)
			if err != nil {
				return err
			}
			c, err := storm.Compare(args[0], args[1], conditions)
			if err != nil {
				return exitError{exitIncomplete, err}
			}
			if asJSON {
				return c.WriteJSON(cmd.OutOrStdout())
			}
			return c.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&where, "where", "", "only cells with these values: DIMENSION = VALUE and ...")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func parseWhere(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	where, err := storm.ParseWhere(text)
	if err != nil {
		return nil, exitError{exitBadSpec, fmt.Errorf("--where: %w", err)}
	}
	return where, nil
}

func newStormPlotCmd() *cobra.Command {
	var f storm.Figure
	var where, out string
	cmd := &cobra.Command{
		Use: "plot RUN", Short: "Draw a metric of a run by any dimension, as SVG", Args: cobra.ExactArgs(1),
		Long: `Plot draws the distribution of a metric for each value of a dimension, or, with a
second dimension, medians with their 95% intervals for each pair of values. What
report draws, it draws for all runs alike.`,
		Example: `  raftdv storm plot runs/three-rounds --metric=time_to_leader --by=members --out=leader.svg
  raftdv storm plot runs/timeouts-sweep --metric=unavailable --by=election --over=fault --where="transport = stock"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if f.Where, err = parseWhere(where); err != nil {
				return err
			}
			if err := f.Validate(); err != nil {
				return exitError{exitBadSpec, err}
			}
			s, _, err := storm.Load(args[0])
			if err != nil {
				return exitError{exitBadSpec, err}
			}
			sum, _, err := s.Summarize(args[0])
			if err != nil {
				return exitError{exitIncomplete, err}
			}
			svg, err := sum.Draw(f)
			if err != nil {
				return err
			}
			if out == "" {
				_, err = cmd.OutOrStdout().Write(svg)
				return err
			}
			return os.WriteFile(out, svg, 0o644)
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.Metric, "metric", "unavailable", "any of "+strings.Join(storm.Metrics(), ", "))
	fl.StringVar(&f.By, "by", "transport", "dimension that is compared: any of "+strings.Join(storm.Dimensions(), ", "))
	fl.StringVar(&f.Over, "over", "", "second dimension (default none: distributions)")
	fl.StringVar(&where, "where", "", "only cells with these values: DIMENSION = VALUE and ...")
	fl.BoolVar(&f.Logarithmic, "log", false, "logarithmic axis of the metric")
	fl.StringVar(&out, "out", "", "file (default: standard output)")
	return cmd
}
