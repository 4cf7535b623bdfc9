// KvCacheService: the data service's entry points. Each checks its request, calls the store, and answers; the
// streams are carried by reactors of their own. Thread-safe; callbacks never block.
//
// Put, Get and Append take and give grpc::ByteBuffer, so that bulk bytes are never copied into a protobuf
// string.
#ifndef KVCOMPD_SERVER_SERVICE_KVCACHE_SERVICE_H_
#define KVCOMPD_SERVER_SERVICE_KVCACHE_SERVICE_H_

#include "proto/kvcompd/v1/kvcache.grpc.pb.h"
#include "server/service/service_context.h"

namespace kvcompd::server {

// The generated CallbackService has the three as protobuf calls, so the base is put together by hand.
template <typename Base>
using RawStreams = v1::KvCache::WithRawCallbackMethod_Put<
    v1::KvCache::WithRawCallbackMethod_Get<v1::KvCache::WithRawCallbackMethod_Append<Base>>>;
template <typename Base>
using UnaryCalls = v1::KvCache::WithCallbackMethod_OpenNamespace<v1::KvCache::WithCallbackMethod_PutCodebooks<
    v1::KvCache::WithCallbackMethod_GetCodebooks<v1::KvCache::WithCallbackMethod_OpenSequence<
        v1::KvCache::WithCallbackMethod_Seal<v1::KvCache::WithCallbackMethod_Match<
            v1::KvCache::WithCallbackMethod_Prefetch<v1::KvCache::WithCallbackMethod_Exists<
                v1::KvCache::WithCallbackMethod_Delete<v1::KvCache::WithCallbackMethod_Lease<
                    v1::KvCache::WithCallbackMethod_Release<v1::KvCache::WithCallbackMethod_Pin<
                        v1::KvCache::WithCallbackMethod_Unpin<Base>>>>>>>>>>>>>;
using KvCacheBase = RawStreams<UnaryCalls<v1::KvCache::WithCallbackMethod_Watch<
    v1::KvCache::WithCallbackMethod_OpenDataSession<v1::KvCache::Service>>>>;

class KvCacheService final : public KvCacheBase {
 public:
  explicit KvCacheService(ServiceContext* context) : context_(context) {}

  grpc::ServerUnaryReactor* OpenNamespace(grpc::CallbackServerContext* call,
                                          const v1::OpenNamespaceRequest* request,
                                          v1::OpenNamespaceResponse* response) override;
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Put(
      grpc::CallbackServerContext* call) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Get(grpc::CallbackServerContext* call,
                                                  const grpc::ByteBuffer* request) override;
  grpc::ServerUnaryReactor* PutCodebooks(grpc::CallbackServerContext* call,
                                         const v1::PutCodebooksRequest* request,
                                         v1::PutCodebooksResponse* response) override;
  grpc::ServerUnaryReactor* GetCodebooks(grpc::CallbackServerContext* call,
                                         const v1::GetCodebooksRequest* request,
                                         v1::GetCodebooksResponse* response) override;
  grpc::ServerUnaryReactor* OpenSequence(grpc::CallbackServerContext* call,
                                         const v1::OpenSequenceRequest* request,
                                         v1::OpenSequenceResponse* response) override;
  grpc::ServerUnaryReactor* Append(grpc::CallbackServerContext* call, const grpc::ByteBuffer* request,
                                   grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* Seal(grpc::CallbackServerContext* call, const v1::SealRequest* request,
                                 v1::SealResponse* response) override;
  grpc::ServerUnaryReactor* Match(grpc::CallbackServerContext* call, const v1::MatchRequest* request,
                                  v1::MatchResponse* response) override;
  grpc::ServerUnaryReactor* Prefetch(grpc::CallbackServerContext* call, const v1::PrefetchRequest* request,
                                     v1::PrefetchResponse* response) override;
  grpc::ServerUnaryReactor* Exists(grpc::CallbackServerContext* call, const v1::ExistsRequest* request,
                                   v1::ExistsResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* call, const v1::DeleteRequest* request,
                                   v1::DeleteResponse* response) override;
  grpc::ServerUnaryReactor* Lease(grpc::CallbackServerContext* call, const v1::LeaseRequest* request,
                                  v1::LeaseResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* call, const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse* response) override;
  grpc::ServerUnaryReactor* Pin(grpc::CallbackServerContext* call, const v1::PinRequest* request,
                                v1::PinResponse* response) override;
  grpc::ServerUnaryReactor* Unpin(grpc::CallbackServerContext* call, const v1::UnpinRequest* request,
                                  v1::UnpinResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext* call,
                                                     const v1::WatchRequest* request) override;
  grpc::ServerBidiReactor<v1::DataSessionRequest, v1::DataSessionResponse>* OpenDataSession(
      grpc::CallbackServerContext* call) override;

 private:
  ServiceContext* const context_;
};

}  // namespace kvcompd::server

#endif  // KVCOMPD_SERVER_SERVICE_KVCACHE_SERVICE_H_
