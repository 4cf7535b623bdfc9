#include "proto/status_convert.h"

#include <gtest/gtest.h>

#include "absl/strings/cord.h"

namespace kvcompd {
namespace {

TEST(StatusConvertTest, EveryCodeGoesThereAndBack) {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "what to do");
    const grpc::Status wire = ToGrpc(status);
    EXPECT_EQ(static_cast<int>(wire.error_code()), code);
    EXPECT_EQ(FromGrpc(wire), status);
    v1::BlockStatus block;
    FillBlockStatus(status, v1::REASON_QUOTA, &block);
    EXPECT_EQ(block.code(), code);
    EXPECT_EQ(block.reason(), code == 0 ? v1::REASON_UNSPECIFIED : v1::REASON_QUOTA);
    EXPECT_EQ(FromBlockStatus(block), status);
  }
}

TEST(StatusConvertTest, CodesOutOfRangeAreUnknown) {
  EXPECT_TRUE(absl::IsUnknown(FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(17), "?"))));
  v1::BlockStatus block;
  for (int code : {17, -1, 1 << 30}) {
    block.set_code(code);
    block.set_message("?");
    EXPECT_TRUE(absl::IsUnknown(FromBlockStatus(block)));
    EXPECT_EQ(FromBlockStatus(block).message(), "?");
  }
}

TEST(StatusConvertTest, PayloadsStayInTheProcess) {
  absl::Status status = absl::InternalError("text");
  status.SetPayload("kvcompd.reason", absl::Cord("x"));
  EXPECT_EQ(ToGrpc(status).error_details(), "");
  EXPECT_EQ(ToGrpc(status).error_message(), "text");
}

}  // namespace
}  // namespace kvcompd
