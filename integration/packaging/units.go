package packaging

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// VerifyUnit asks systemd-analyze about one unit in dir, with its drop-ins.
// Everything that it says is a fault: it only warns of misspelt settings.
func VerifyUnit(ctx context.Context, dir, unit string) error {
	cmd := exec.CommandContext(ctx, "systemd-analyze", "verify", "--man=no", "--recursive-errors=no", filepath.Join(dir, unit))
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":", "SYSTEMD_LOG_LEVEL=notice", "SYSTEMD_COLORS=0")
	out, err := cmd.CombinedOutput()
	if text := strings.TrimSpace(string(out)); err != nil || text != "" {
		return errors.Join(fmt.Errorf("%s: %s", unit, text), err)
	}
	return nil
}

// UnitStart reads what a unit or an EnvironmentFile sets: its variables, and
// the command of the last ExecStart. Specifiers (%H) stay as they are.
func UnitStart(file string) (Start, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Start{}, err
	}
	s := Start{File: filepath.Base(file), Name: "unit"}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		key, value, ok := strings.Cut(line, "=")
		switch {
		case !ok || strings.HasPrefix(line, "#"):
		case key == "Environment":
			name, value, _ := strings.Cut(value, "=")
			s.Env = append(s.Env, Var{Name: name, Value: value})
		case key == "ExecStart":
			s.Command = strings.Fields(strings.ReplaceAll(value, "$DAEMON_ARGS", ""))
		case key == strings.ToUpper(key):
			s.Env = append(s.Env, Var{Name: key, Value: value})
		}
	}
	return s, nil
}
