// Testsum reads the output of go test -json and shows what a person wants to
// see of it: one line for each package, everything that a failed test said,
// and in the end which tests were skipped and why. A skip that nobody sees is
// a test that nobody runs.
//
// It exits with 1 if a test or a package failed or nothing was tested.
package main
