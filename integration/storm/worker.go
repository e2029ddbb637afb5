package storm

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Work answers each number of a trial that comes on r with its result, a line of CSV, on
// w. It is what worker processes do.
func (s *Spec) Work(r io.Reader, w io.Writer) error {
	debug.SetGCPercent(workerGC)
	debug.SetMemoryLimit(min(workerMemory, debug.SetMemoryLimit(-1)))
	for in := bufio.NewScanner(r); in.Scan(); {
		trial, err := strconv.ParseUint(in.Text(), 10, 64)
		if err != nil || trial >= s.Trials() {
			return fmt.Errorf("trial %q of %d", in.Text(), s.Trials())
		}
		res, err := s.Simulate(trial)
		if err != nil {
			return err
		}
		res.Failure = strings.Join(strings.Fields(res.Failure), " ")
		if _, err := io.WriteString(w, line(s.row(&res))); err != nil {
			return err
		}
	}
	return nil
}

// A trial needs little memory, and most of it until its end: garbage is looked for when
// there is workerGC percent of that, or when a worker holds workerMemory bytes.
const (
	workerGC     = 1600
	workerMemory = 256 << 20
)

// worker is a process that runs trials: the source that raft draws from is one for each
// process, and a trial that breaks everything breaks it alone.
type worker struct {
	spec *Spec
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	errs bytes.Buffer
}

// trialLimit bounds a trial, in the time of the clock on the wall: a process that takes
// longer is killed, and the trial has failed if another one does as well.
const trialLimit = 30 * time.Minute

// maxComplaint bounds what is told of a worker's last words.
const maxComplaint = 500

// NewWorker starts a process that works as Work does.
func (s *Spec) NewWorker(cmd *exec.Cmd) (Trier, error) {
	w := &worker{spec: s, cmd: cmd}
	cmd.Stderr = &w.errs
	detach(cmd)
	var err error
	if w.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	w.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	return w, nil
}

func (w *worker) Try(trial uint64) (r Result, err error) {
	late := time.AfterFunc(trialLimit, func() { w.cmd.Process.Kill() })
	defer late.Stop()
	if _, err := fmt.Fprintln(w.in, trial); err != nil {
		return r, w.broken(err)
	}
	text, err := wholeLine(w.out)
	if err != nil {
		return r, w.broken(err)
	}
	row, err := csv.NewReader(bytes.NewReader(text)).Read()
	if err != nil {
		return r, w.broken(err)
	}
	return w.spec.parseRow(row)
}

// broken says what the process said in the end.
func (w *worker) broken(err error) error {
	if exit := w.Close(); exit != nil {
		err = exit
	}
	said := strings.TrimSpace(w.errs.String())
	return fmt.Errorf("the trial's process broke: %w: %s", err, said[:min(len(said), maxComplaint)])
}

// Close ends the process.
func (w *worker) Close() error {
	if w.cmd.ProcessState != nil {
		return nil
	}
	w.in.Close()
	err := w.cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit
	}
	return err
}
