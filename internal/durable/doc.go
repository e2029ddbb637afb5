// Package durable keeps small files that have to outlive a crash: they are
// replaced whole, and synced before it is said that they are.
package durable
