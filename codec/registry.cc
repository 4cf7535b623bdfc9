// The CPU backend's codecs. A new codec is entered here, and in CodecId.
#include "codec/codec.h"
#include "codec/intq_codec.h"
#include "codec/kvcomp_codec.h"
#include "codec/lossless_codec.h"
#include "codec/packkv_codec.h"
#include "codec/raw_codec.h"

namespace kvcompd::codec {

const Codec* FindCodec(CodecId id) {
  static const RawCodec raw;
  static const KvcompCodec kvcomp;
  static const IntqCodec intq;
  static const LosslessCodec lossless;
  static const PackkvCodec packkv;
  static const Codec* const kCodecs[] = {&raw, &kvcomp, &lossless, &intq, &packkv};
  for (const Codec* codec : kCodecs) {
    if (codec->id() == id) return codec;
  }
  return nullptr;
}

}  // namespace kvcompd::codec
