//go:build race

package simulate

// raced: the race detector makes runs ten times slower and has nothing to find
// in one goroutine; fewer of them do.
const raced = true
