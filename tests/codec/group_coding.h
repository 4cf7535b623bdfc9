// Encodes and decodes one tile group through the Codec interface, with the buffers that it needs.
//
//   auto group = EncodeGroup(codec, shape, values, params);       // StatusOr
//   auto tile = DecodeTile(codec, shape, *group, head, book);     // StatusOr: the tile's bytes
#ifndef KVCOMPD_TESTS_CODEC_GROUP_CODING_H_
#define KVCOMPD_TESTS_CODEC_GROUP_CODING_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "codec/codec.h"

namespace kvcompd::testing {

struct EncodedGroup {
  std::string header;
  std::vector<codec::TileMode> modes;
  std::vector<std::string> payloads;
  std::vector<std::optional<uint32_t>> decoded_crcs;  // where the codec hands them over
  codec::EncodeStats stats;
  std::vector<uint32_t> histogram = std::vector<uint32_t>(256, 0);

  friend bool operator==(const EncodedGroup& a, const EncodedGroup& b) {
    return a.header == b.header && a.modes == b.modes && a.payloads == b.payloads;
  }
};

// values: [heads, tokens, channels]. fill: what workspace and output hold before. INTERNAL: the codec wrote
// behind a tile's or the header's bound, where other groups may stand.
absl::StatusOr<EncodedGroup> EncodeGroup(const codec::Codec& codec, const codec::GroupShape& shape,
                                         std::string_view values, const codec::EncodeParams& params,
                                         uint8_t fill = 0);

// Decodes from buffers of exactly the given sizes, so that a sanitizer sees every byte outside.
absl::StatusOr<std::string> DecodeTile(const codec::Codec& codec, const codec::GroupShape& shape,
                                       std::string_view header, codec::TileMode mode,
                                       std::string_view payload, const codec::Codebook* book,
                                       uint8_t fill = 0);

inline absl::StatusOr<std::string> DecodeTile(const codec::Codec& codec, const codec::GroupShape& shape,
                                              const EncodedGroup& group, uint32_t head,
                                              const codec::Codebook* book = nullptr, uint8_t fill = 0) {
  return DecodeTile(codec, shape, group.header, group.modes[head], group.payloads[head], book, fill);
}

}  // namespace kvcompd::testing

#endif  // KVCOMPD_TESTS_CODEC_GROUP_CODING_H_
