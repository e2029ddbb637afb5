package swap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"
)

// ErrNotLinearizable is returned when etcd's checker rejects a history.
var ErrNotLinearizable = errors.New("etcd's checker rejects the history")

const (
	// validateTest of the checker reads the reports beside its folder.
	validateTest    = "TestDataReports"
	validateTimeout = 10 * time.Minute
	validateTail    = 2 << 10
)

var (
	validatePassed = regexp.MustCompile(`(?m)^\s*--- PASS: ` + validateTest + `/`)
	// validateProof is said when, and only when, an order was searched for and
	// found. Without it nothing was checked.
	validateProof = []byte("Linearization success")
)

// Validate has etcd's checker (the test program of robustness/validate) judge
// a history, with the members' data folders as evidence of what they logged.
// Dir receives the report and is kept.
func Validate(ctx context.Context, checker string, h *History, dataDirs map[string]string, dir string) error {
	report := filepath.Join(dir, "testdata", "swap")
	if err := os.RemoveAll(report); err != nil {
		return err
	}
	if err := h.Save(report); err != nil {
		return err
	}
	for name, data := range dataDirs {
		wal := filepath.Join("member", "wal")
		if err := os.CopyFS(filepath.Join(report, "server-"+name, wal), os.DirFS(filepath.Join(data, wal))); err != nil {
			return err
		}
	}
	return runChecker(ctx, checker, dir)
}

func runChecker(ctx context.Context, checker, dir string) error {
	cwd := filepath.Join(dir, "validate")
	if err := os.MkdirAll(cwd, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, validateTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, checker, "-test.run=^"+validateTest+"$", "-test.v", "-test.timeout="+validateTimeout.String())
	cmd.Dir = cwd
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	text := out.Bytes()
	os.WriteFile(filepath.Join(dir, "checker.log"), text, 0o644)
	switch exit := (*exec.ExitError)(nil); {
	case err == nil && validatePassed.Match(text) && bytes.Contains(text, validateProof):
		return nil
	case err == nil:
		return fmt.Errorf("etcd's checker checked nothing:\n%s", tail(text))
	case errors.As(err, &exit) && exit.ExitCode() == 1:
		return fmt.Errorf("%w:\n%s", ErrNotLinearizable, tail(text))
	}
	return fmt.Errorf("etcd's checker: %w:\n%s", err, tail(text))
}

func tail(text []byte) []byte { return text[max(0, len(text)-validateTail):] }
