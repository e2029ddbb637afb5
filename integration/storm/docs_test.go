package storm

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

const docFile = "../../docs/storm.md"

// tables are those of docs/storm.md that follow from the code.
func tables() map[string]string {
	var dims, transports, faults, measured strings.Builder
	fmt.Fprint(&dims, "| dimension | values | default | |\n| --- | --- | --- | --- |\n")
	for i := range dimensions {
		d := &dimensions[i]
		fmt.Fprintf(&dims, "| `%s` | %s | %s | %s |\n", d.name, strings.TrimPrefix(d.allowed(), "any of "), d.usual, d.about)
	}
	fmt.Fprint(&transports, "| transport | |\n| --- | --- |\n")
	for _, t := range Transports() {
		fmt.Fprintf(&transports, "| `%s` | %s |\n", t.Name, t.About)
	}
	fmt.Fprint(&faults, "| fault | | from | members |\n| --- | --- | --- | --- |\n")
	for _, f := range Faults() {
		fmt.Fprintf(&faults, "| `%s` | %s | %s | %d and more |\n", f.Name, f.About, f.Source, f.Least)
	}
	fmt.Fprint(&measured, "| metric | unit | |\n| --- | --- | --- |\n")
	for i := range metrics {
		fmt.Fprintf(&measured, "| `%s` | %s | %s |\n", metrics[i].name, metrics[i].unit, metrics[i].about)
	}
	return map[string]string{"dimensions": dims.String(), "transports": transports.String(), "faults": faults.String(), "metrics": measured.String()}
}

// TestDocs: the tables of the manual are those of the program.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for name, want := range tables() {
		begin, end := "<!-- "+name+" -->\n", "<!-- end of "+name+" -->"
		head, rest, ok1 := strings.Cut(text, begin)
		got, tail, ok2 := strings.Cut(rest, end)
		if !ok1 || !ok2 {
			t.Fatalf("%s has no table of %s", docFile, name)
		}
		if got != want && !*update {
			t.Errorf("%s: the table of %s is another one: run go test ./integration/storm -run TestDocs -update", docFile, name)
		}
		text = head + begin + want + end + tail
	}
	if *update {
		if err := os.WriteFile(docFile, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
