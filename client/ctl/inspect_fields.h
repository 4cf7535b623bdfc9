// The fixed fields of a container's parts, read as FORMAT.md's tables name them, also where they make no
// sense.
//
// Called by inspect.cc. Pure functions: they never fail; what lies beyond the end of the bytes is left out.
//
//   for (const InspectField& f : BlockHeaderFields(bytes, 0)) Print(f.offset, f.name, f.value, f.note);
#ifndef KVCOMPD_CLIENT_CTL_INSPECT_FIELDS_H_
#define KVCOMPD_CLIENT_CTL_INSPECT_FIELDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "client/ctl/table.h"
#include "codec/base/types.h"

namespace kvcompd::client {

struct InspectField {
  uint64_t offset = 0;  // from the container's start
  uint64_t bytes = 0;
  std::string name;  // as in FORMAT.md
  Json value;        // number, text or hexadecimal digits
  std::string note;  // what it says; empty where the value says it
};

inline constexpr uint32_t kBlockHeaderMagic = 0x4243564b;    // "KVCB"
inline constexpr uint32_t kSegmentMagicNumber = 0x4753564b;  // "KVSG"
inline constexpr uint32_t kFooterMagic = 0x4643564b;         // "KVCF"
inline constexpr uint32_t kEndMagic = 0x4543564b;            // "KVCE"

// bytes: the container from the part's first byte on; offset: where that is in the container.
std::vector<InspectField> BlockHeaderFields(ByteSpan bytes, uint64_t offset);
std::vector<InspectField> SegmentHeaderFields(ByteSpan bytes, uint64_t offset);
std::vector<InspectField> FooterFields(ByteSpan bytes, uint64_t offset);

// A number at a place; 0 beyond the end.
uint32_t U32At(ByteSpan bytes, uint64_t at);
uint64_t U64At(ByteSpan bytes, uint64_t at);

struct FooterPlace {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool crc_ok = false;
};
// Where the container's last bytes say that its footer is; nothing where they do not end a container.
std::optional<FooterPlace> FindFooter(ByteSpan container);

}  // namespace kvcompd::client

#endif  // KVCOMPD_CLIENT_CTL_INSPECT_FIELDS_H_
