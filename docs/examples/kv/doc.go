// Command kv is a small replicated key-value store on go.etcd.io/raft, to show
// how a program moves from rafthttp to raftdv: the import, and the name of the
// type, in transport.go. Everything else is what it would be with rafthttp.
//
// Start three members, each in a terminal of its own:
//
//	go run ./docs/examples/kv --id 1 --cluster http://127.0.0.1:12379,http://127.0.0.1:22379,http://127.0.0.1:32379 --listen 127.0.0.1:12380
//	go run ./docs/examples/kv --id 2 --cluster http://127.0.0.1:12379,http://127.0.0.1:22379,http://127.0.0.1:32379 --listen 127.0.0.1:22380
//	go run ./docs/examples/kv --id 3 --cluster http://127.0.0.1:12379,http://127.0.0.1:22379,http://127.0.0.1:32379 --listen 127.0.0.1:32380
//
// Write to one, read from another:
//
//	curl -X PUT http://127.0.0.1:12380/colour -d blue
//	curl http://127.0.0.1:22380/colour
//
// The log is kept in memory: a member that was stopped catches up from the
// others when it comes back as a new process, as long as a majority stays.
package main
