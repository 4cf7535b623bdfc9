#include "client/channel.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/support/channel_arguments.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace kvcompd::client {
namespace {

// A daemon that restarted must be found again within two seconds, so neither wait is longer than one.
constexpr int kFirstReconnectMs = 50;
constexpr int kMaxReconnectMs = 1'000;
constexpr int kMinConnectMs = 2'000;  // that one attempt may take, TLS included
// What a daemon may send on a stream before it is read. Fixed: gRPC's bandwidth probe (a ping for every batch
// of bytes read, and a window that follows) took a third of all CPU time of a Get over loopback. Two messages
// of the default size; 16 Gb/s a stream at a round trip of 1 ms.
constexpr int kStreamWindowBytes = 2 << 20;

grpc::ChannelArguments Arguments(const ClientOptions& options, uint32_t number) {
  grpc::ChannelArguments args;
  args.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  args.SetMaxSendMessageSize(-1);
  args.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Connections of one process to one daemon stay apart: each has its own TCP stream and flow control.
  args.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  args.SetInt("kvcompd.channel", static_cast<int>(number));
  args.SetInt(GRPC_ARG_HTTP2_MAX_FRAME_SIZE, 4 << 20);
  args.SetInt(GRPC_ARG_HTTP2_WRITE_BUFFER_SIZE, 4 << 20);
  args.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamWindowBytes);
  args.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  args.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  args.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kMinConnectMs);
  args.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  if (options.keepalive_ms > 0) {
    args.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, static_cast<int>(options.keepalive_ms));
    args.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
    args.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  }
  return args;
}

}  // namespace

ChannelPool::ChannelPool(const ClientOptions& options) {
  const auto credentials = options.credentials ? options.credentials : grpc::InsecureChannelCredentials();
  for (uint32_t i = 0; i < options.num_channels; ++i) {
    auto lane = std::make_shared<Lane>();
    lane->channel = grpc::CreateCustomChannel(options.address, credentials, Arguments(options, i));
    lane->kv = v1::KvCache::NewStub(lane->channel);
    lane->admin = v1::Admin::NewStub(lane->channel);
    lane->generic = std::make_unique<grpc::GenericStub>(lane->channel);
    lanes_.push_back(std::move(lane));
  }
}

std::shared_ptr<Lane> ChannelPool::Next() {
  return lanes_[next_.fetch_add(1, std::memory_order_relaxed) % lanes_.size()];
}

absl::Status ChannelPool::WaitConnected(const Deadline& deadline) {
  // The others connect meanwhile; one that answers shows that the daemon is there.
  for (const auto& lane : lanes_) lane->channel->GetState(/*try_to_connect=*/true);
  if (lanes_[0]->channel->WaitForConnected(deadline.SystemTime())) return absl::OkStatus();
  return absl::UnavailableError("no connection was made in time; is the daemon listening there?");
}

}  // namespace kvcompd::client
