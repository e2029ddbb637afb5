// Patch makes an etcd server whose peer transport can be replaced.
//
// etcd builds its rafthttp.Transport itself and has no hook to replace it.
// The module cache is read-only to Go's overlays too, so patch copies
// go.etcd.io/etcd/server/v3, at the version that go.mod names, to an ignored
// folder and rewrites three expressions of its etcdserver package, one of embed,
// and the ends of two functions:
//
//	&rafthttp.Transport{…}            ->  dvplug.New(cfg, &rafthttp.Transport{…})
//	x.(*rafthttp.Transport), twice    ->  x.(dvplug.Transport)
//	func HandleMetrics(mux …) { …     ->  …; dvplug.HandleDebug(mux) }
//	func Server(s …) *grpc.Server { …  ->  …; dvplug.HandleServices(made, s); return made }
//	http.Serve(l, mux), for metrics   ->  dvplug.ServeMetrics(l, mux)
//
// The last three show the transport's state and serve its admin API on the
// listeners of metrics and clients, under their protection.
//
// It finds them in the syntax tree, splices the text on the same lines (stack
// traces keep upstream's line numbers), and refuses a server that does not
// look exactly like that. A copy of go.mod with a replacement goes beside it:
//
//	go run ./internal/patch
//	go build -modfile=.build/go.mod ./cmd/etcd-dv
//
// The copy is keyed by the server's version and checksum and by the generator
// itself, so a run with nothing to do takes a fraction of a second. Runs at
// the same time wait for each other, and every file appears whole or not at
// all.
//
// Programs outside of this module that embed the etcd server (its own test
// trees, for one) are built with the same copy: -out writes another module
// file, -require and -replace add to it.
package main
