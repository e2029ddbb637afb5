// Command table is a small table that a group of processes keeps in common,
// without raft: every write is an agreed message, and all members apply the same
// writes in the same order. It shows how a program uses a group, and how a member that
// joins gets what was written before (state transfer).
//
// Start three members, each in a terminal of its own:
//
//	go run ./docs/examples/table --id 1 --peers 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --listen 127.0.0.1:8001 --dir ~/table1 --new
//	go run ./docs/examples/table --id 2 --peers 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --listen 127.0.0.1:8002 --dir ~/table2 --new
//	go run ./docs/examples/table --id 3 --peers 127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003 --listen 127.0.0.1:8003 --dir ~/table3 --new
//
// Write to one, read from another:
//
//	curl -X PUT http://127.0.0.1:8001/colour -d blue
//	curl http://127.0.0.1:8002/colour
//
// End one with Ctrl-C: the others go on. Start it again without --new, and it has
// what they have. The table is in memory: with the last member it is gone.
package main
