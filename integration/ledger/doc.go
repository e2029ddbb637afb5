// Package ledger checks that acknowledged writes are not lost: a load enters
// what a cluster acknowledged, and Verify reads all of it back.
package ledger
