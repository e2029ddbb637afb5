package packaging

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/raftdv/dv/internal/doctor"
)

const operations = root + "/docs/operations.md"

var nftBlock = regexp.MustCompile("(?s)```nft\n(.*?)```")

// firewallOfDocs is the ruleset that docs/operations.md shows.
func firewallOfDocs(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	m := nftBlock.FindStringSubmatch(string(page))
	if m == nil {
		t.Fatalf("%s shows no ruleset", operations)
	}
	return m[1]
}

// explained reports whether page has a heading for a message, with gaps where
// the message has what differs from time to time.
func explained(page, message string) bool {
	for _, m := range Messages(page) {
		parts := strings.Split(m, gap)
		for i, p := range parts {
			parts[i] = regexp.QuoteMeta(p)
		}
		if regexp.MustCompile(strings.Join(parts, ".*")).MatchString(message) {
			return true
		}
	}
	return false
}

var messageFolders = []string{"raftdv", "fabric", "cmd", "internal/doctor", "internal/durable"}

// Every message that docs/operations.md explains is one that the code says.
func TestMessages(t *testing.T) {
	page, err := os.ReadFile(operations)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := Texts(root, messageFolders...)
	if err != nil {
		t.Fatal(err)
	}
	messages := Messages(string(page))
	if len(messages) < 20 {
		t.Errorf("%d messages: some are gone", len(messages))
	}
	for _, f := range CheckMessages(messages, texts) {
		t.Error(f)
	}
}

// What CheckMessages must find, and what it must let pass.
func TestMessageControls(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.go", "package a\n\nvar e = fmt.Errorf(\"%w from %s for %5.2f: firewall?\", x, y, z)\nvar f = \"the first half\" +\n\t\" and the second\"\nvar g = \"answer of \" + name + \": not understood\"\nvar h = \"it broke\"\n")
	write("a_test.go", "package a\n\nvar t = \"said by a test alone\"\n")
	texts, err := Texts(dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	for message, ok := range map[string]bool{
		"… from … for …: firewall?":        true,
		"the first half and the second":    true,
		"answer of …: not understood":      true,
		"… from … for …: a firewall?":      false,
		"said by a test alone":             false,
		"it broke from … for …: firewall?": true, // a text fills the gap
		"it from … for …: firewall?":       false,
		"… … …":                            false, // says nothing
		"the first half and the second.":   false,
		"a message that was never in code": false,
	} {
		faults := CheckMessages([]string{message}, texts)
		if (len(faults) == 0) != ok {
			t.Errorf("%q: %q", message, faults)
		}
	}
	page := "# Title\n\n### `… from …: a heading`\n\n`a code line`\n\n## `code` and words\n"
	if got := Messages(page); len(got) != 1 || got[0] != "… from …: a heading" {
		t.Errorf("messages of the page: %q", got)
	}
	if !explained(page, "no answer from 10.0.0.1: a heading") || explained(page, "no answer") {
		t.Error("explained is wrong")
	}
}

// inKubernetes is a variable that the pages show as one that nobody means.
const inKubernetes = "ETCD_DV_PORT"

func TestPages(t *testing.T) {
	makefile, err := os.ReadFile(root + "/Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/install.md", "docs/operations.md", "docs/architecture.md", "docs/status.md"} {
		faults, err := CheckPage(filepath.Join(root, page), string(makefile), inKubernetes)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faults {
			t.Errorf("%s: %s", page, f)
		}
	}
	if err := newTable().variable(Var{Name: inKubernetes, Value: "tcp://10.0.0.1:2379"}); err == nil {
		t.Errorf("%s means something now: docs/operations.md says that it does not", inKubernetes)
	}
}

func TestPageControls(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there.md"), []byte("# A heading: `code`, and more\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"[x](there.md) [y](there.md#a-heading-code-and-more) [z](https://etcd.io)": "",
		"`--dv-mode=off`, `--dv-*`, ETCD_DV_MODE, `ETCD_DV_*`":                     "",
		"make do\n\n    sudo make install\n\n`CGO_ENABLED=0 make build`":           "",
		"[x](gone.md)":           "gone.md",
		"[x](there.md#headings)": "no such heading",
		"[x](#here)":             "no such heading",
		"`--dv-mood=off`":        "there is no flag --dv-mood",
		"set ETCD_DV_MOOD":       "there is no variable ETCD_DV_MOOD",
		"    make instal":        "there is no target instal",
		"`make instal`":          "there is no target instal",
	} {
		path := filepath.Join(dir, "page.md")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		faults, err := CheckPage(path, "install:\nbuild:\n")
		if err != nil || (want == "") != (len(faults) == 0) || want != "" && !strings.Contains(faults[0], want) {
			t.Errorf("%q: %q, %v, want %q", text, faults, err, want)
		}
	}
}

// What docs/install.md shows of raftdv doctor is what doctor asks: its names,
// its questions, and which fabrics have no port yet.
func TestDoctorOfDocs(t *testing.T) {
	page, err := os.ReadFile(root + "/docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	var shown bytes.Buffer
	r := doctor.Run(t.Context())
	if err := r.Write(&shown); err != nil {
		t.Fatal(err)
	}
	const unbuilt = "a port in this version of raftdv"
	for _, v := range r.Verdicts {
		row := regexp.MustCompile(`(?m)^ *` + v.Fabric + ` .*$`)
		docs, now := row.FindString(string(page)), row.FindString(shown.String())
		if docs == "" || strings.Contains(docs, unbuilt) != strings.Contains(now, unbuilt) {
			t.Errorf("docs/install.md shows %q, doctor %q: put its new output there", docs, now)
		}
	}
	for _, f := range r.Findings {
		if !regexp.MustCompile(`(?m)^    ` + f.Name + ` +\w+ +` + regexp.QuoteMeta(f.About)).MatchString(string(page)) {
			t.Errorf("docs/install.md does not show %s, %q: put doctor's new output there", f.Name, f.About)
		}
	}
}
