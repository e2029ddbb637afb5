package plug

import (
	"os"
	"strings"
	"testing"
)

// The table of settings that people read has every setting and its default.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range options {
		row := "| `--" + o.flag() + "` | "
		if o.def != "" {
			row += "`" + o.def + "` |"
		}
		if !strings.Contains(string(text), row) {
			t.Errorf("README.md has no %q", row)
		}
	}
}
