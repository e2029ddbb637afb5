// Package version knows which version of the module a binary was built from.
package version
