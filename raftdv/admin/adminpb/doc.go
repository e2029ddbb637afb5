// Package adminpb is the generated code of the admin API, service
// raftdv.v1.Admin of admin.proto.
package adminpb

//go:generate go run github.com/raftdv/dv/internal/protogen admin.proto
