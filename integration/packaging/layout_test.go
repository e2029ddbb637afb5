package packaging

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The checks of the image find an image that is wrong.
func TestLayoutControls(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "bin", "test")); err != nil {
		t.Fatal(err)
	}
	lines, err := Layout(dir)
	if want := []string{"drwxr-xr-x /bin", "Lrwxrwxrwx /bin/test -> " + self}; err != nil || !slices.Equal(lines, want) {
		t.Errorf("%q, %v, want %q", lines, err, want)
	}
	if err := CheckPrograms(filepath.Join(dir, "bin")); err == nil {
		t.Error("a test program, built with the paths of this machine, passes")
	}
	if err := os.WriteFile(filepath.Join(dir, "bin", "text"), bytes.Repeat([]byte("x"), 64), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := CheckPrograms(filepath.Join(dir, "bin")); err == nil || !strings.Contains(err.Error(), "text: ") {
		t.Errorf("a text passes for a program: %v", err)
	}
}
