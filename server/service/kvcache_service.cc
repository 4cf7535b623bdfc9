#include "server/service/kvcache_service.h"

#include <functional>
#include <utility>

#include "proto/status_convert.h"
#include "server/service/data_session_reactor.h"
#include "server/service/get_reactor.h"
#include "server/service/index_calls.h"
#include "server/service/namespace_calls.h"
#include "server/service/put_reactor.h"
#include "server/service/request_checks.h"
#include "server/service/sequence_calls.h"
#include "server/service/watch_reactor.h"

namespace kvcompd::server {
namespace {

grpc::ServerUnaryReactor* Answer(ServiceContext& context, grpc::CallbackServerContext* call,
                                 const absl::Status& status) {
  CountRejected(context, status);
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  reactor->Finish(ToGrpc(status));
  return reactor;
}

// Ends a call that worker threads answer.
DoneFn Finisher(ServiceContext& context, grpc::ServerUnaryReactor* reactor) {
  return [&context, reactor](const absl::Status& status) {
    CountRejected(context, status);
    reactor->Finish(ToGrpc(status));
  };
}

}  // namespace

grpc::ServerUnaryReactor* KvCacheService::OpenNamespace(grpc::CallbackServerContext* call,
                                                        const v1::OpenNamespaceRequest* request,
                                                        v1::OpenNamespaceResponse* response) {
  return Answer(*context_, call, server::OpenNamespace(*context_, *request, response));
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* KvCacheService::Put(
    grpc::CallbackServerContext* call) {
  return PutReactor::Start(context_, call);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* KvCacheService::Get(grpc::CallbackServerContext* call,
                                                                const grpc::ByteBuffer* request) {
  return new GetReactor(context_, call, request);
}

grpc::ServerUnaryReactor* KvCacheService::PutCodebooks(grpc::CallbackServerContext* call,
                                                       const v1::PutCodebooksRequest* request,
                                                       v1::PutCodebooksResponse* response) {
  return Answer(*context_, call, server::PutCodebooks(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::GetCodebooks(grpc::CallbackServerContext* call,
                                                       const v1::GetCodebooksRequest* request,
                                                       v1::GetCodebooksResponse* response) {
  return Answer(*context_, call, server::GetCodebooks(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::OpenSequence(grpc::CallbackServerContext* call,
                                                       const v1::OpenSequenceRequest* request,
                                                       v1::OpenSequenceResponse* response) {
  return Answer(*context_, call, server::OpenSequence(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Append(grpc::CallbackServerContext* call,
                                                 const grpc::ByteBuffer* request,
                                                 grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  server::Append(*context_, call, *request, response, Finisher(*context_, reactor));
  return reactor;
}

grpc::ServerUnaryReactor* KvCacheService::Seal(grpc::CallbackServerContext* call,
                                               const v1::SealRequest* request, v1::SealResponse* response) {
  grpc::ServerUnaryReactor* reactor = call->DefaultReactor();
  server::Seal(*context_, call, *request, response, Finisher(*context_, reactor));
  return reactor;
}

grpc::ServerUnaryReactor* KvCacheService::Match(grpc::CallbackServerContext* call,
                                                const v1::MatchRequest* request,
                                                v1::MatchResponse* response) {
  return Answer(*context_, call, server::Match(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Prefetch(grpc::CallbackServerContext* call,
                                                   const v1::PrefetchRequest* request,
                                                   v1::PrefetchResponse* response) {
  return Answer(*context_, call, server::Prefetch(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Exists(grpc::CallbackServerContext* call,
                                                 const v1::ExistsRequest* request,
                                                 v1::ExistsResponse* response) {
  return Answer(*context_, call, server::Exists(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Delete(grpc::CallbackServerContext* call,
                                                 const v1::DeleteRequest* request,
                                                 v1::DeleteResponse* response) {
  return Answer(*context_, call, server::Delete(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Lease(grpc::CallbackServerContext* call,
                                                const v1::LeaseRequest* request,
                                                v1::LeaseResponse* response) {
  return Answer(*context_, call, server::Lease(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Release(grpc::CallbackServerContext* call,
                                                  const v1::ReleaseRequest* request,
                                                  v1::ReleaseResponse* response) {
  return Answer(*context_, call, server::Release(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Pin(grpc::CallbackServerContext* call,
                                              const v1::PinRequest* request, v1::PinResponse* response) {
  return Answer(*context_, call, server::Pin(*context_, call, *request, response));
}

grpc::ServerUnaryReactor* KvCacheService::Unpin(grpc::CallbackServerContext* call,
                                                const v1::UnpinRequest* request,
                                                v1::UnpinResponse* response) {
  return Answer(*context_, call, server::Unpin(*context_, call, *request, response));
}

grpc::ServerWriteReactor<v1::WatchResponse>* KvCacheService::Watch(grpc::CallbackServerContext* call,
                                                                   const v1::WatchRequest* request) {
  return StartWatch(context_, call, request);
}

grpc::ServerBidiReactor<v1::DataSessionRequest, v1::DataSessionResponse>* KvCacheService::OpenDataSession(
    grpc::CallbackServerContext* call) {
  return StartDataSession(context_, call);
}

}  // namespace kvcompd::server
