package bench

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// jsonNames are the names of all fields of a result; those of bounds are told by
// the name before them.
func jsonNames(t reflect.Type) (names []string) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() == reflect.Struct {
			names = append(names, jsonNames(f.Type)...)
		}
		if name != "" && !strings.HasSuffix(name, "_lo") && !strings.HasSuffix(name, "_hi") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// documented checks the table of docs/performance.md: every field is in it, and
// nothing else is.
func documented(text string, names []string) (faults []string) {
	_, section, _ := strings.Cut(text, "\n## JSON\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var told []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			for _, m := range regexp.MustCompile("`([a-z0-9_]+)`").FindAllStringSubmatch(line, -1) {
				told = append(told, m[1])
			}
		}
	}
	for _, n := range names {
		if !slices.Contains(told, n) {
			faults = append(faults, n+" is not documented")
		}
	}
	for _, n := range told {
		if !slices.Contains(names, n) && !slices.Contains([]string{"memory", "disk", "loopback", "namespaces"}, n) {
			faults = append(faults, n+" is documented and is no field")
		}
	}
	return faults
}

func TestFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range []any{TransportResult{}, RaftResult{}, EtcdResult{}} {
		of := jsonNames(reflect.TypeOf(r))
		if len(of) < 10 || !slices.Contains(of, "version") {
			t.Errorf("%T: only %v", r, of)
		}
		names = append(names, of...)
	}
	for _, f := range documented(string(text), names) {
		t.Error(f)
	}
	// The control.
	less := strings.Replace(string(text), "`repeats` |", "`repetitions` |", 1)
	if got := documented(less, names); !slices.Equal(got, []string{"repeats is not documented", "repetitions is documented and is no field"}) {
		t.Errorf("a wrong name is not seen: %q", got)
	}
}
