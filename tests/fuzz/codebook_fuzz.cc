// Fuzzes the codebook set parser: what parses is canonical, and its books code and decode.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "codec/codebook.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using kvcompd::codec::CodebookSet;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto set = CodebookSet::Parse(bytes);
  if (!set.ok()) return 0;
  if ((*set)->canonical_bytes() != bytes) std::abort();
  const auto profile = kvcompd::Profile::Parse((*set)->profile_text());
  if (!profile.ok()) std::abort();
  for (const auto tensor : {kvcompd::Tensor::kK, kvcompd::Tensor::kV}) {
    for (uint32_t layer = 0; layer < 64; ++layer) {
      const auto* book = (*set)->Find(layer, tensor);
      if ((book == nullptr) != (profile->codec != kvcompd::CodecId::kKvcomp)) std::abort();
      if (book == nullptr) continue;
      if (book->num_symbols() != kvcompd::codec::BookSymbols(*profile, tensor)) std::abort();
      if (book->coder() != profile->coder) std::abort();
      if (book->coder() == kvcompd::Coder::kRans) {
        if (book->rans_tables().symbols() != book->num_symbols()) std::abort();
        continue;
      }
      for (uint32_t s = 0; s < book->num_symbols(); ++s) {
        if (book->decode_table()[book->codes()[s]] != (s << 8 | book->lengths()[s])) std::abort();
      }
    }
  }
  return 0;
}
