package packaging

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// A NoModulesError says that what the checker of manifests needs cannot be had
// here, as without a network.
type NoModulesError struct{ Reason string }

func (e *NoModulesError) Error() string {
	return "the modules of integration/packaging/manifests are not to be had: " + e.Reason
}

// BuildManifests builds the checker of manifests into dir and returns its path.
func BuildManifests(ctx context.Context, root, dir string) (string, error) {
	module := filepath.Join(root, "integration", "packaging", "manifests")
	if out, err := goTool(ctx, module, "mod", "download"); err != nil {
		if bytes.Contains(out, []byte("checksum mismatch")) {
			return "", fmt.Errorf("the checker of manifests: %w: %s", err, out)
		}
		return "", &NoModulesError{fmt.Sprintf("%v: %s", err, bytes.TrimSpace(out))}
	}
	path := filepath.Join(dir, "manifests")
	if out, err := goTool(ctx, module, "build", "-buildvcs=false", "-o", path, "."); err != nil {
		return "", fmt.Errorf("build the checker of manifests: %w: %s", err, out)
	}
	return path, nil
}

func goTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	return cmd.CombinedOutput()
}

// ReadManifest runs the checker on one file of a kind (kubernetes, compose or
// dockerfile), with env in its environment, and returns what the file starts. The error is
// what the checker says.
func ReadManifest(ctx context.Context, checker, kind, file string, env ...string) ([]Start, error) {
	cmd := exec.CommandContext(ctx, checker, kind, file)
	cmd.Env = env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var all []Start
	if err := json.Unmarshal(stdout.Bytes(), &all); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s starts nothing", file)
	}
	return all, nil
}
