package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// notices are texts with those that they are for.
type notices struct {
	programs []string
	texts    []*notice
}

type notice struct {
	text string
	by   []string // sources, with the name of the file
}

var noticeFile = regexp.MustCompile(`(?i)^(un)?(licen[cs]e|copying|notice|patents)([.-].*)?$`)

// add reads what the sources say.
func (n *notices) add(sources []*source) error {
	for _, s := range sources {
		files, err := s.files()
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(files, func(f string) bool { return !strings.ContainsRune(f, filepath.Separator) }) {
			return fmt.Errorf("%s has no license in %s: look at what it allows before handing it on", s.name, s.root)
		}
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(s.root, f))
			if err != nil {
				return err
			}
			n.note(strings.TrimSpace(string(text)), s.name+" ("+filepath.ToSlash(f)+")")
		}
	}
	return nil
}

func (n *notices) note(text, by string) {
	i := slices.IndexFunc(n.texts, func(o *notice) bool { return o.text == text })
	if i < 0 {
		i, n.texts = len(n.texts), append(n.texts, &notice{text: text})
	}
	if !slices.Contains(n.texts[i].by, by) {
		n.texts[i].by = append(n.texts[i].by, by)
	}
}

// files are the notices in the root and on the way to what is linked, by their
// names below the root.
func (s *source) files() (all []string, err error) {
	seen := map[string]bool{}
	for _, dir := range append([]string{s.root}, s.dirs...) {
		for ; !seen[dir] && within(dir, s.root); dir = filepath.Dir(dir) {
			seen[dir] = true
			entries, err := os.ReadDir(dir)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if e.Type().IsRegular() && noticeFile.MatchString(e.Name()) && filepath.Ext(e.Name()) != ".go" {
					name, err := filepath.Rel(s.root, filepath.Join(dir, e.Name()))
					if err != nil {
						return nil, err
					}
					all = append(all, name)
				}
			}
		}
	}
	return all, nil
}

func within(dir, root string) bool {
	return dir == root || strings.HasPrefix(dir, root+string(filepath.Separator))
}

const line = "--------------------------------------------------------------------------------"

func (n *notices) write(w io.Writer) {
	fmt.Fprintf(w, "What is linked into %s, and on what terms. Terms of raftdv itself: LICENSE.\n", strings.Join(n.programs, ", "))
	for _, t := range n.texts {
		slices.Sort(t.by)
		fmt.Fprintf(w, "\n%s\n%s\n%s\n\n%s\n", line, strings.Join(t.by, "\n"), line, t.text)
	}
}
