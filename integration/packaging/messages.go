package packaging

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// gap stands in a quoted message for what differs from time to time.
const gap = "…"

// minMessage is the least of a message that identifies it.
const minMessage = 12

// Messages returns the texts that a page quotes as messages of the programs:
// its headings that are code and nothing else.
func Messages(page string) (all []string) {
	for line := range strings.Lines(page) {
		title := strings.TrimLeft(line, "#")
		if title == line {
			continue
		}
		title = strings.TrimSpace(title)
		if inner := strings.Trim(title, "`"); "`"+inner+"`" == title {
			all = append(all, inner)
		}
	}
	return all
}

// CheckMessages returns the messages that no text of the code has, and those
// that say too little to tell.
func CheckMessages(messages, texts []string) (faults []string) {
	for _, m := range messages {
		switch {
		case len(strings.ReplaceAll(m, gap, "")) < minMessage:
			faults = append(faults, fmt.Sprintf("%q says too little to look for", m))
		case !occurs(m, texts):
			faults = append(faults, fmt.Sprintf("%q is nothing that the code says", m))
		}
	}
	return faults
}

// occurs: the message is part of a text, or a text whose gaps are filled with
// gaps or with other texts.
func occurs(message string, texts []string) bool {
	for _, t := range texts {
		if strings.Contains(t, message) || fills(message, t, texts) {
			return true
		}
	}
	return false
}

func fills(message, text string, texts []string) bool {
	if !strings.Contains(text, gap) || len(strings.ReplaceAll(text, gap, "")) < minMessage {
		return false
	}
	parts := strings.Split(text, gap)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	m := regexp.MustCompile("^" + strings.Join(parts, "(.+)") + "$").FindStringSubmatch(message)
	if m == nil {
		return false
	}
	return !slices.ContainsFunc(m[1:], func(fill string) bool { return fill != gap && !slices.Contains(texts, fill) })
}

// verb is what fmt replaces.
var verb = regexp.MustCompile(`%[-+# 0]*[0-9]*(\.[0-9]+)?[a-zA-Z]`)

// Texts returns the string constants of the Go files below the given folders,
// tests aside, with gaps in place of verbs. Constants that are joined by + are
// one text, with gaps for what is no constant.
func Texts(root string, folders ...string) (all []string, err error) {
	for _, folder := range folders {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			texts, err := textsOf(path)
			all = append(all, texts...)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

func textsOf(path string) (all []string, err error) {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		e, ok := n.(ast.Expr)
		if !ok {
			return true
		}
		text, constant := joined(e)
		if constant {
			all = append(all, verb.ReplaceAllString(text, gap))
		}
		return !constant
	})
	return all, nil
}

// joined returns the text of a string constant or of a sum with one in it.
func joined(e ast.Expr) (text string, ok bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind != token.STRING {
			return "", false
		}
		text, err := strconv.Unquote(e.Value)
		return text, err == nil
	case *ast.BinaryExpr:
		if e.Op != token.ADD {
			return "", false
		}
		left, a := joined(e.X)
		right, b := joined(e.Y)
		if !a {
			left = gap
		}
		if !b {
			right = gap
		}
		return left + right, a || b
	}
	return "", false
}
