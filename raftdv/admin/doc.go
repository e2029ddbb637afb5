// Package admin serves the admin API (service raftdv.v1.Admin, see adminpb) for
// all transports of a process.
//
// An etcd server has it on its gRPC client listeners, beside its own services
// ([Register]), and on its metrics listeners, together with grpc.health.v1 and
// reflection ([Handler]). What it tells has no protection beyond that of the
// listener: the metrics and /debug/dv tell it as well, and nothing is secret. What
// changes something is asked of whoever registers the service.
package admin
