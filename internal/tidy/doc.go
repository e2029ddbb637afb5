// Package tidy holds the rules of this repository that a program can check:
// what lies at the top, which layer imports which, package documentation,
// formatting, sizes and words. Each rule is a function from a tree to its
// faults. The tests run every rule on the repository, and on trees that break
// it.
package tidy
