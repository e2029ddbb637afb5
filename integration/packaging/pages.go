package packaging

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	linkTo     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	ourFlag    = regexp.MustCompile(`--(dv-[a-z-]*[a-z])`)
	ourVar     = regexp.MustCompile(`\bETCD_DV_[A-Z_]*[A-Z]`)
	makeTarget = regexp.MustCompile("(?m)(?:`| {4})(?:sudo )?(?:[A-Z_0-9]+=\\S+ )?make ([a-z][a-z-]*)")
	target     = regexp.MustCompile(`(?m)^([a-z-]+):`)
)

// CheckPage returns what a page says that is not so: links that lead nowhere,
// flags and variables of the transport that do not exist, targets that the
// Makefile does not have. Variables in except are meant to be unknown.
func CheckPage(path, makefile string, except ...string) (faults []string, err error) {
	page, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	text := string(page)
	for _, m := range linkTo.FindAllStringSubmatch(text, -1) {
		faults = append(faults, brokenLink(path, m[1])...)
	}
	t := newTable()
	for _, m := range ourFlag.FindAllStringSubmatch(text, -1) {
		if t.flags.Lookup(m[1]) == nil {
			faults = append(faults, "there is no flag "+m[0])
		}
	}
	for _, name := range except {
		t.byEnv[name] = ""
	}
	for _, name := range ourVar.FindAllString(text, -1) {
		if _, ok := t.byEnv[name]; !ok {
			faults = append(faults, "there is no variable "+name)
		}
	}
	targets := map[string]bool{}
	for _, m := range target.FindAllStringSubmatch(makefile, -1) {
		targets[m[1]] = true
	}
	for _, m := range makeTarget.FindAllStringSubmatch(text, -1) {
		if !targets[m[1]] {
			faults = append(faults, "there is no target "+m[1])
		}
	}
	return faults, nil
}

// brokenLink looks at links within the repository.
func brokenLink(page, link string) []string {
	if strings.Contains(link, "://") {
		return nil
	}
	file, anchor, _ := strings.Cut(link, "#")
	to := page
	if file != "" {
		to = filepath.Join(filepath.Dir(page), file)
	}
	info, err := os.Stat(to)
	if err != nil {
		return []string{fmt.Sprintf("link %s: %v", link, err)}
	}
	if anchor == "" || info.IsDir() {
		return nil
	}
	text, err := os.ReadFile(to)
	if err != nil {
		return []string{err.Error()}
	}
	for line := range strings.Lines(string(text)) {
		if title := strings.TrimLeft(line, "#"); title != line && slug(title) == anchor {
			return nil
		}
	}
	return []string{fmt.Sprintf("link %s: no such heading", link)}
}

var noSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)

// slug is the anchor of a heading on GitHub.
func slug(title string) string {
	return strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(strings.TrimSpace(title)), ""), " ", "-")
}
