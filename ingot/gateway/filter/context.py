"""Words around a number that say what it is: of a person, or of an order, a version, a price."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: A sentence ends here: what is said before it is about something else.
_SENTENCE_END = re.compile(r"[。！？；!?;]|[a-z]{4}\.\s|\n\s*\n|\n[-*•] ")

_PHONE = (
    "手机 电话 联系 收件人 收货人 寄件人 热线 致电 拨打 来电 短信 微信 座机 固话 传真 分机 本人 "
    "手機 電話 聯絡 聯繫 收件人 熱線 致電 撥打 來電 簡訊 座機 市話 傳真 分機 tel telephone phone mobile cell call fax "
    "whatsapp wechat contact reach sms dial caller"
)
_PERSON = "身份证 身份證 身分證 证件 證件 证号 字號 identity id idcard 公民 本人"
_CARD = (
    "卡号 卡號 银行卡 銀行卡 信用卡 储蓄卡 借记卡 账号 帐号 帳號 账户 账戶 帳戶 银联 银行 銀行 开户 付款卡 "
    "card account visa mastercard unionpay amex iban bank pan"
)

#: Words by which a number is more likely of this kind.
RAISING: Mapping[str, str] = {
    "mobile": _PHONE,
    "landline": _PHONE,
    "bank-card": _CARD,
    "resident-id": _PERSON,
    "passport": "护照 護照 通行证 通行證 证件 證件 证号 passport permit travel",
    "hong-kong-id": f"{_PERSON} 香港 hkid hong kong",
    "taiwan-id": f"{_PERSON} 統一編號 台湾 台灣 taiwan",
    "plate": "车牌 車牌 牌照 车号 车辆 plate car vehicle",
    "company-id": "信用代码 信用代碼 税号 稅號 纳税人 识别号 识别码 营业执照 执照 机构代码 uscc credit tax",
    "ip-address": (
        "ip 地址 主机 主機 服务器 伺服器 登录 登入 来源 來源 来自 來自 请求 請求 网关 "
        "dns address host server gateway login client ping ssh"
    ),
}

#: Words by which a number is more likely none of a person, whatever its form.
_LOWERING = (
    "订单 訂單 单号 單號 流水 快递 运单 物流 包裹 编号 編號 序列 版本 批次 批号 时间戳 時間戳 条码 条形码 二维码 "
    "型号 型號 票号 发票 合同 工单 会议 房间 端口 价格 金额 价钱 总价 售价 余额 费用 哈希 提交 校验 圆周率 随机 "
    "流水號 快遞 運單 批號 條碼 票號 發票 合約 會議 房間 價格 金額 總價 餘額 費用 專利 學號 工號 商品 貨號 "
    "质数 素数 坐标 经度 纬度 分辨率 案号 专利 邮编 书号 刊号 股票 代码为 商品 货号 像素 样本 人口 播放 浏览 "
    "阅读 粉丝 次数 距离 长度 order tracking parcel shipment serial sn sku isbn issn doi ean upc imei imsi iccid "
    "version ver build release batch lot timestamp epoch unix barcode model invoice ticket meeting room port "
    "price amount total cost balance hash commit uuid guid md5 sha sha1 sha256 checksum pi random seed prime "
    "rmb cny usd eur hkd twd fibonacci coordinate longitude latitude lat lon lng resolution case patent zip "
    "population bytes size part "
    "item product chapter section figure ref rfc 样品 准字 文号 优惠券 学号 工号 seq count rows index offset "
    "po uid user_id num code token key weight memory txn txid qq"
)

#: Words that name a number and say nothing of its kind: behind 身份证, card or ticket they leave what was said.
_NAMES_A_NUMBER = frozenset(("编号", "編號", "序列", "num", "no", "code", "id"))

#: What names another number just before it: a Chinese word that ends so (课程号, 激活码, 采购单; but not 手机号),
#: or one of these.
_OTHER_NUMBER = (
    r"(?:(?<![机话卡账帐證证信牌照户座机同])号|(?<!号)码|(?<![账名])单|群"
    r"|(?<![a-z])(?:transaction|trace|request|session|run|job|claim|policy|contract|voucher|coupon|receipt|reservation"
    r"|booking|reference|confirmation|conference)(?: (?:id|no|number|code))?\.?"
    r"|(?<![a-z])(?:user|customer|member) (?:id|no|number|code)\.?)[:：=\"' ]{0,4}$"
)

#: Just before a number, these say that it is somebody's, whatever else the sentence is about.
_OF_SOMEBODY = re.compile(r"(?:[员員]|先生|女士|小姐|师傅|師傅|经理|經理|同学|同學|(?<![a-z])(?:by|from))[:： ]{0,2}$")


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
    last = end = 0
    for found in _WORDS[kind].finditer(sentence.lower()):
        is_raising = found.lastgroup == "raising"
        if last and found.start() <= end + 1 and found.group() in _NAMES_A_NUMBER:
            continue
        last, end = 1 if is_raising else -1, found.end()
    # An order's number, and the number of who brings it or opened it.
    return 0 if last < 0 and _OF_SOMEBODY.search(sentence.lower()) else last
