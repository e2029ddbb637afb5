package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An edit that no longer fits must not be left out in silence.
func TestOverlay(t *testing.T) {
	b := &builder{workspace: &workspace{dir: t.TempDir(), tests: t.TempDir()}}
	from := filepath.Join(b.tests, "x.go")
	if err := os.WriteFile(from, []byte("a(true); a(true)"), 0o644); err != nil {
		t.Fatal(err)
	}
	file, err := b.overlay(&suite{name: "s", edits: []edit{{"x.go", "a(true)", "a(false)"}}})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var o struct{ Replace map[string]string }
	if err := json.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(o.Replace[from]); string(got) != "a(false); a(false)" {
		t.Errorf("%s: %q", text, got)
	}
	if _, err := b.overlay(&suite{name: "s", edits: []edit{{"x.go", "b(true)", ""}}}); err == nil || !strings.Contains(err.Error(), "x.go has no") {
		t.Errorf("an edit that does not fit: %v", err)
	}
	if _, err := b.overlay(&suite{name: "s", edits: []edit{{"y.go", "b", ""}}}); err == nil {
		t.Error("a file that is not there was edited")
	}
}
