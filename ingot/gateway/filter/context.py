"""Words around a number that say what it is: of a person, or of an order, a version, a price."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: A sentence ends here: what is said before it is about something else.
_SENTENCE_END = re.compile(r"[。！？；!?;]|[a-z]{4}\.\s|\n\s*\n|\n[-*•] ")

_PHONE = (
    "手机 电话 联系 热线 致电 拨打 来电 短信 微信 座机 固话 传真 分机 本人 tel telephone phone mobile cell call fax "
    "whatsapp wechat contact reach sms dial"
)
_PERSON = "身份证 身份證 证件 證件 证号 identity id idcard 公民 本人"
_CARD = (
    "卡号 卡號 银行卡 信用卡 储蓄卡 借记卡 账号 帐号 账户 账戶 银联 开户 付款卡 "
    "card account visa mastercard unionpay amex iban bank"
)

#: Words by which a number is more likely of this kind.
RAISING: Mapping[str, str] = {
    "mobile": _PHONE,
    "landline": _PHONE,
    "bank-card": _CARD,
    "resident-id": _PERSON,
    "passport": "护照 護照 通行证 通行證 证件 證件 证号 passport permit travel",
    "hong-kong-id": f"{_PERSON} 香港 hkid hong kong",
    "taiwan-id": f"{_PERSON} 台湾 台灣 taiwan",
    "plate": "车牌 車牌 牌照 车号 车辆 plate car vehicle",
    "company-id": "信用代码 信用代碼 税号 稅號 纳税人 识别号 识别码 营业执照 执照 机构代码 uscc credit tax",
    "ip-address": (
        "ip 地址 主机 服务器 登录 来源 来自 请求 网关 dns address host server gateway login from client ping ssh"
    ),
}

#: Words by which a number is more likely none of a person, whatever its form.
_LOWERING = (
    "订单 訂單 单号 單號 流水 快递 运单 物流 包裹 编号 編號 序列 版本 批次 批号 时间戳 時間戳 条码 条形码 二维码 "
    "型号 型號 票号 发票 合同 工单 会议 房间 端口 价格 金额 价钱 总价 售价 余额 费用 哈希 提交 校验 圆周率 随机 "
    "质数 素数 坐标 经度 纬度 分辨率 案号 专利 邮编 书号 刊号 股票 代码为 商品 货号 像素 样本 人口 播放 浏览 "
    "阅读 粉丝 次数 距离 长度 order tracking parcel shipment serial sn sku isbn issn doi ean upc imei imsi iccid "
    "version ver build release batch lot timestamp epoch unix barcode model invoice ticket meeting room port "
    "price amount total cost balance hash commit uuid guid md5 sha sha1 sha256 checksum pi random seed prime "
    "fibonacci coordinate longitude latitude lat lon lng resolution case patent zip population bytes size part "
    "item product chapter section figure ref rfc 样品 优惠券 学号 工号 seq count rows index offset po uid "
    "user_id num code token key"
)

#: A Chinese word that ends so just before a number names another number: 课程号, 激活码; but not 手机号 or 号码.
_OTHER_NUMBER = r"(?:(?<![机话卡账帐證证信牌照户座机])号|(?<!号)码)[:： ]{0,2}$"


def _pattern(words: Iterable[str]) -> str:
    """Any of the words: Chinese ones anywhere, English ones as whole words, in small letters."""
    plain = [re.escape(word) for word in words if not word.isascii()]
    latin = [re.escape(word) for word in words if word.isascii()]
    return "|".join([*plain, rf"(?<![a-z])(?:{'|'.join(latin)})s?(?![a-z])"])


_WORDS = {
    kind: re.compile(
        f"(?P<raising>{_pattern(words.split())})|(?P<lowering>{_pattern(_LOWERING.split())}|{_OTHER_NUMBER})"
    )
    for kind, words in RAISING.items()
}


def says(kind: str, before: str) -> int:
    """What the words before a number say: 1 that it is of this kind, -1 that it is none of a person, 0 nothing.

    The word that stands closest to the number counts. `before` is the text up to the number.
    """
    ends = [found.end() for found in _SENTENCE_END.finditer(before)]
    sentence = before[ends[-1] :] if ends else before
    last = 0
    for found in _WORDS[kind].finditer(sentence.lower()):
        last = 1 if found.lastgroup == "raising" else -1
    return last
