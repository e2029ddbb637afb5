package tidy

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// words are what must not be in any text of the repository, and why. They are
// written so that this file does not hold them.
var words = map[string]*regexp.Regexp{
	"a path of one machine":     regexp.MustCompile(`(^|[\s"'=(:` + "`" + `])/(work|root|home/[a-z]+)(/|\b)`),
	"a temporary path":          regexp.MustCompile(`(^|[\s"'=(` + "`" + `])/t` + `mp/[A-Za-z0-9]`),
	"the name of a registry":    regexp.MustCompile(`\b(proxy|sum)\.gola` + `ng\.org|regis` + `try\.npmjs|pypi\.o` + `rg`),
	"who wrote it":              regexp.MustCompile(`(?i)\b(cla` + `ude|anthro` + `pic|chat` + `gpt|open` + `ai|copi` + `lot|language mod` + `el)\b`),
	"something left for later":  regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`),
	"a conflict of two changes": regexp.MustCompile(`(?m)^(<{7}|>{7}) `),
}

// Words: none of words in any text, checksums aside.
func Words(t Tree) (faults []string, err error) {
	for _, f := range t.Files {
		if f == "go.sum" {
			continue
		}
		text, isText, err := t.text(f)
		if err != nil {
			return nil, err
		}
		if !isText {
			continue
		}
		for _, why := range slices.Sorted(maps.Keys(words)) {
			if at := words[why].FindStringIndex(text); at != nil {
				line := 1 + strings.Count(text[:at[0]], "\n")
				faults = append(faults, fault(f, "line %d holds %s: %q", line, why, text[at[0]:at[1]]))
			}
		}
	}
	return faults, nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
