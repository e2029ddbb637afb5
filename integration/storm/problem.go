package storm

import (
	"fmt"
	"slices"
	"strings"
)

// A Problem is one thing that is wrong with a specification, and where.
type Problem struct {
	Line, Column int
	// Where is the place within the specification, like matrix.members[1]; "" is all
	// of it.
	Where string
	// What is wrong, and what is allowed.
	What string
}

// SpecError lists all that is wrong with a specification.
type SpecError struct {
	File     string
	Problems []Problem
}

func (e *SpecError) Error() string {
	var lines []string
	for _, p := range e.Problems {
		where := p.Where
		if where != "" {
			where += ": "
		}
		lines = append(lines, fmt.Sprintf("%s:%d:%d: %s%s", e.File, p.Line, p.Column, where, p.What))
	}
	return strings.Join(lines, "\n")
}

// sorted by place; what is said twice of one place is said once.
func sorted(all []Problem) []Problem {
	slices.SortStableFunc(all, func(a, b Problem) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return slices.Compact(all)
}
