// Package admin serves the admin API (service raftdv.v1.Admin, see adminpb) for
// all transports of a process.
//
// An etcd server has it on its gRPC client listeners, beside its own services
// ([Register]), and on its metrics listeners, together with grpc.health.v1 and
// reflection ([Handler]). It has no protection beyond that of the listener, and
// tells what the metrics and /debug/dv tell as well: nothing secret.
package admin
