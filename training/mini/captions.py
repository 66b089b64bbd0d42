"""Everyday captions in English and Chinese, made from a small grammar: what photographs' captions sound like, in both languages.

The drawings' titles are two words long. These sentences bring the text tower to the kind of text that users have, and each comes
with its translation. No data set's captions were used for writing them.
"""

from __future__ import annotations

import random

PEOPLE = [
    ("a man", "一个男人"), ("a woman", "一个女人"), ("a boy", "一个男孩"), ("a girl", "一个女孩"), ("a child", "一个孩子"),
    ("a little boy", "一个小男孩"), ("a little girl", "一个小女孩"), ("a baby", "一个婴儿"), ("a toddler", "一个幼儿"),
    ("an old man", "一位老人"), ("an old woman", "一位老妇人"), ("a young man", "一个年轻人"), ("a young woman", "一个年轻女子"),
    ("two men", "两个男人"), ("two women", "两个女人"), ("two boys", "两个男孩"), ("two girls", "两个女孩"), ("three people", "三个人"),
    ("two children", "两个孩子"), ("a group of people", "一群人"), ("a group of children", "一群孩子"), ("a couple", "一对情侣"),
    ("a family", "一家人"), ("several people", "几个人"), ("a crowd of people", "人群"), ("friends", "朋友们"), ("a worker", "一名工人"),
    ("a soldier", "一名士兵"), ("a tourist", "一名游客"), ("a student", "一名学生"), ("a person", "一个人"), ("someone", "有人"),
    ("teenagers", "一些青少年"), ("a mother and her child", "母亲和孩子"), ("a father with his son", "父亲和儿子"),
]  # fmt: skip
LOOKS = [
    ("in a {c} shirt", "穿着{z}衬衫的"), ("in a {c} jacket", "穿着{z}夹克的"), ("in a {c} dress", "穿着{z}裙子的"),
    ("wearing a {c} hat", "戴着{z}帽子的"), ("wearing a helmet", "戴着头盔的"), ("wearing sunglasses", "戴着太阳镜的"),
    ("in {c} shorts", "穿着{z}短裤的"), ("wearing a {c} coat", "穿着{z}外套的"), ("with a backpack", "背着背包的"),
    ("with long hair", "留着长发的"), ("with a beard", "留着胡子的"), ("in a suit", "穿着西装的"), ("in a swimsuit", "穿着泳衣的"),
    ("in jeans", "穿着牛仔裤的"), ("in a uniform", "穿着制服的"), ("wearing glasses", "戴着眼镜的"), ("in costume", "穿着戏服的"),
    ("wearing a {c} scarf", "围着{z}围巾的"), ("without a shirt", "光着上身的"), ("in a wetsuit", "穿着潜水服的"),
]  # fmt: skip
COLOURS = [("red", "红色"), ("blue", "蓝色"), ("green", "绿色"), ("yellow", "黄色"), ("black", "黑色"), ("white", "白色"),
           ("brown", "棕色"), ("orange", "橙色"), ("pink", "粉色"), ("purple", "紫色"), ("gray", "灰色"), ("striped", "条纹")]  # fmt: skip
# stem of the -ing form, third person, Chinese
ACTIONS = [
    ("walking", "walks", "走路"), ("running", "runs", "奔跑"), ("jumping", "jumps", "跳跃"), ("sitting", "sits", "坐着"),
    ("standing", "stands", "站着"), ("sleeping", "sleeps", "睡觉"), ("smiling", "smiles", "微笑"), ("laughing", "laughs", "大笑"),
    ("dancing", "dances", "跳舞"), ("singing", "sings", "唱歌"), ("playing", "plays", "玩耍"), ("swimming", "swims", "游泳"),
    ("playing football", "plays football", "踢足球"), ("playing soccer", "plays soccer", "踢足球"),
    ("playing basketball", "plays basketball", "打篮球"), ("playing tennis", "plays tennis", "打网球"),
    ("playing baseball", "plays baseball", "打棒球"), ("playing the guitar", "plays the guitar", "弹吉他"),
    ("playing volleyball", "plays volleyball", "打排球"), ("playing hockey", "plays hockey", "打冰球"),
    ("playing the drums", "plays the drums", "打鼓"), ("playing the piano", "plays the piano", "弹钢琴"),
    ("riding a bicycle", "rides a bicycle", "骑自行车"), ("riding a bike", "rides a bike", "骑车"),
    ("riding a horse", "rides a horse", "骑马"), ("riding a motorcycle", "rides a motorcycle", "骑摩托车"),
    ("riding a skateboard", "rides a skateboard", "玩滑板"), ("riding a wave", "rides a wave", "乘着海浪"),
    ("surfing", "surfs", "冲浪"), ("skiing", "skis", "滑雪"), ("snowboarding", "snowboards", "玩单板滑雪"),
    ("climbing a rock", "climbs a rock", "攀岩"), ("climbing a mountain", "climbs a mountain", "爬山"), ("hiking", "hikes", "徒步"),
    ("fishing", "fishes", "钓鱼"), ("cooking", "cooks", "做饭"), ("eating", "eats", "吃东西"), ("drinking beer", "drinks beer", "喝啤酒"),
    ("drinking coffee", "drinks coffee", "喝咖啡"), ("reading a book", "reads a book", "看书"), ("reading a newspaper", "reads a newspaper", "看报纸"),
    ("talking on the phone", "talks on the phone", "打电话"), ("taking a picture", "takes a picture", "拍照"),
    ("holding a camera", "holds a camera", "拿着相机"), ("holding a baby", "holds a baby", "抱着婴儿"),
    ("holding an umbrella", "holds an umbrella", "打着伞"), ("holding a sign", "holds a sign", "举着牌子"), ("holding a flag", "holds a flag", "举着旗子"),
    ("working", "works", "工作"), ("painting a picture", "paints a picture", "画画"), ("shopping", "shops", "购物"),
    ("driving a car", "drives a car", "开车"), ("paddling a canoe", "paddles a canoe", "划独木舟"), ("rowing a boat", "rows a boat", "划船"),
    ("sailing", "sails", "驾驶帆船"), ("waiting for the bus", "waits for the bus", "等公交车"), ("crossing the street", "crosses the street", "过马路"),
    ("throwing a ball", "throws a ball", "扔球"), ("catching a ball", "catches a ball", "接球"), ("kicking a ball", "kicks a ball", "踢球"),
    ("doing a trick", "does a trick", "做特技"), ("sliding down a slide", "slides down a slide", "滑滑梯"), ("swinging", "swings", "荡秋千"),
    ("splashing", "splashes", "戏水"), ("building a sandcastle", "builds a sandcastle", "堆沙堡"), ("posing for a photo", "poses for a photo", "摆姿势拍照"),
    ("watching a show", "watches a show", "看表演"), ("walking a dog", "walks a dog", "遛狗"), ("petting a dog", "pets a dog", "抚摸一只狗"),
    ("feeding the birds", "feeds the birds", "喂鸟"), ("blowing bubbles", "blows bubbles", "吹泡泡"), ("washing a car", "washes a car", "洗车"),
    ("digging in the dirt", "digs in the dirt", "挖土"), ("carrying bags", "carries bags", "提着袋子"), ("hugging", "hugs", "拥抱"),
    ("giving a speech", "gives a speech", "演讲"), ("performing on stage", "performs on stage", "在舞台上表演"), ("racing", "races", "比赛"),
    ("wrestling", "wrestles", "摔跤"), ("boxing", "boxes", "打拳击"), ("fighting a fire", "fights a fire", "救火"), ("diving", "dives", "跳水"),
    ("looking at the view", "looks at the view", "看风景"), ("lying down", "lies down", "躺着"), ("celebrating", "celebrates", "庆祝"),
    ("cutting a cake", "cuts a cake", "切蛋糕"), ("using a laptop", "uses a laptop", "用笔记本电脑"), ("flying a kite", "flies a kite", "放风筝"),
]  # fmt: skip
PLACES = [
    ("on the street", "在街上"), ("in the park", "在公园里"), ("on the beach", "在海滩上"), ("in the snow", "在雪地里"), ("in the water", "在水里"),
    ("in a field", "在田野里"), ("on the grass", "在草地上"), ("on a sidewalk", "在人行道上"), ("in front of a building", "在一座建筑物前"),
    ("in a pool", "在游泳池里"), ("in the ocean", "在海里"), ("by the lake", "在湖边"), ("in the mountains", "在山里"), ("in the forest", "在森林里"),
    ("in a city", "在城市里"), ("at night", "在夜里"), ("in the kitchen", "在厨房里"), ("on a couch", "在沙发上"), ("at a table", "在桌旁"),
    ("in a restaurant", "在餐馆里"), ("in a store", "在商店里"), ("at a market", "在市场上"), ("on a bench", "在长椅上"), ("on a bridge", "在桥上"),
    ("on stage", "在舞台上"), ("in a stadium", "在体育场里"), ("in a boat", "在船上"), ("on a rock", "在岩石上"), ("on a dirt road", "在土路上"),
    ("in a river", "在河里"), ("on a playground", "在操场上"), ("in a garden", "在花园里"), ("near a fountain", "在喷泉旁"), ("in an office", "在办公室里"),
    ("in a bedroom", "在卧室里"), ("in the desert", "在沙漠里"), ("on a train", "在火车上"), ("near a tree", "在树旁"), ("at a party", "在聚会上"),
    ("in the rain", "在雨中"), ("at sunset", "在日落时"), ("in a parade", "在游行中"), ("on a ramp", "在坡道上"), ("down a hill", "下山坡"),
    ("near a fence", "在围栏旁"), ("on a track", "在跑道上"), ("", ""), ("", ""), ("", ""), ("outside", "在户外"), ("indoors", "在室内"),
]  # fmt: skip
ANIMALS = [
    ("dog", "狗", 8), ("puppy", "小狗", 2), ("cat", "猫", 3), ("horse", "马", 2), ("bird", "鸟", 3), ("cow", "牛", 1), ("sheep", "羊", 1),
    ("elephant", "大象", 1), ("bear", "熊", 1), ("duck", "鸭子", 1), ("rabbit", "兔子", 1), ("monkey", "猴子", 1), ("tiger", "老虎", 1),
    ("lion", "狮子", 1), ("goat", "山羊", 1), ("squirrel", "松鼠", 1), ("fish", "鱼", 1), ("butterfly", "蝴蝶", 1), ("deer", "鹿", 1),
    ("greyhound", "灵缇犬", 1), ("poodle", "贵宾犬", 1), ("terrier", "梗犬", 1), ("swan", "天鹅", 1), ("camel", "骆驼", 1), ("wolf", "狼", 1),
]  # fmt: skip
FUR = [("brown", "棕色的"), ("black", "黑色的"), ("white", "白色的"), ("black and white", "黑白相间的"), ("small", "小小的"), ("large", "大"),
       ("tan", "黄褐色的"), ("gray", "灰色的"), ("spotted", "带斑点的"), ("fluffy", "毛茸茸的"), ("wet", "湿漉漉的"), ("young", "年幼的")]  # fmt: skip
ANTICS = [
    ("running", "runs", "奔跑"), ("jumping", "jumps", "跳跃"), ("swimming", "swims", "游泳"), ("sleeping", "sleeps", "睡觉"), ("eating", "eats", "吃东西"),
    ("playing", "plays", "玩耍"), ("standing", "stands", "站着"), ("sitting", "sits", "坐着"), ("lying down", "lies down", "躺着"),
    ("walking", "walks", "走"), ("catching a ball", "catches a ball", "接球"), ("catching a frisbee", "catches a frisbee", "接飞盘"),
    ("chasing a ball", "chases a ball", "追球"), ("carrying a stick", "carries a stick", "叼着木棍"), ("with a toy in its mouth", "has a toy in its mouth", "叼着玩具"),
    ("jumping over a hurdle", "jumps over a hurdle", "跳过栏杆"), ("shaking off water", "shakes off water", "甩掉身上的水"),
    ("looking at the camera", "looks at the camera", "看着镜头"), ("drinking water", "drinks water", "喝水"), ("playing with another one", "plays with another one", "和同伴玩耍"),
    ("digging in the sand", "digs in the sand", "刨沙子"), ("looking out of a window", "looks out of a window", "望着窗外"),
]  # fmt: skip
THINGS = [
    ("a car", "一辆汽车"), ("a bus", "一辆公共汽车"), ("a train", "一列火车"), ("a boat", "一艘船"), ("an airplane", "一架飞机"), ("a bicycle", "一辆自行车"),
    ("a house", "一座房子"), ("a church", "一座教堂"), ("a castle", "一座城堡"), ("a bridge", "一座桥"), ("a lighthouse", "一座灯塔"), ("a tree", "一棵树"),
    ("flowers", "花"), ("a mountain", "一座山"), ("a waterfall", "瀑布"), ("a cake", "一个蛋糕"), ("a pizza", "一个比萨饼"), ("a bowl of fruit", "一碗水果"),
    ("a cup of coffee", "一杯咖啡"), ("a bottle of wine", "一瓶葡萄酒"), ("a clock", "一个钟"), ("a lamp", "一盏灯"), ("a chair", "一把椅子"), ("a bed", "一张床"),
    ("a computer", "一台电脑"), ("a telephone", "一部电话"), ("a guitar", "一把吉他"), ("a piano", "一架钢琴"), ("an umbrella", "一把伞"), ("a sign", "一块标牌"),
    ("a motorcycle", "一辆摩托车"), ("a fire truck", "一辆消防车"), ("a tent", "一个帐篷"), ("a statue", "一座雕像"), ("a tractor", "一辆拖拉机"), ("a fountain", "一座喷泉"),
]  # fmt: skip


def caption(draw: random.Random) -> tuple[str, str]:
    """One caption and its Chinese translation."""
    kind = draw.random()
    if kind < 0.6:
        english, chinese = _people(draw)
    elif kind < 0.87:
        english, chinese = _animal(draw)
    else:
        thing, place = draw.choice(THINGS), draw.choice(PLACES)
        opening, opening_zh = draw.choice(
            [("", ""), ("A photo of ", "一张照片："), ("There is ", "有"), ("A picture of ", "图片：")]
        )
        english, chinese = f"{opening}{thing[0]} {place[0]}".strip(), f"{opening_zh}{place[1]}{thing[1]}"
    english = english[0].upper() + english[1:]
    end = draw.random() < 0.7
    return english + "." * end, chinese + "。" * end


def _people(draw: random.Random) -> tuple[str, str]:
    who, act, place = draw.choice(PEOPLE), draw.choice(ACTIONS), draw.choice(PLACES)
    look = ("", "")
    if draw.random() < 0.5:
        colour, form = draw.choice(COLOURS), draw.choice(LOOKS)
        look = (" " + form[0].format(c=colour[0]), form[1].format(z=colour[1]))
    many = who[0].split()[0] in ("two", "three", "several", "friends", "teenagers")
    verb = draw.choice([f"{'are' if many else 'is'} {act[0]}", act[0], act[0] if many else act[1]])
    return f"{who[0]}{look[0]} {verb} {place[0]}".strip(), f"{look[1]}{who[1]}{place[1]}{act[2]}"


def _animal(draw: random.Random) -> tuple[str, str]:
    name = draw.choices(ANIMALS, [item[2] for item in ANIMALS])[0]
    fur, act, place = draw.choice([*FUR, ("", "")]), draw.choice(ANTICS), draw.choice(PLACES)
    if draw.random() < 0.2:
        english = f"{draw.choice(['two', 'three'])} {fur[0]} {name[0]}{'' if name[0] in ('sheep', 'fish', 'deer') else 's'}"
        return " ".join(f"{english} {act[0]} {place[0]}".split()), f"几只{fur[1]}{name[1]}{place[1]}{act[2]}"
    article = "an" if (fur[0] or name[0])[0] in "aeiou" else "a"
    verb = draw.choice([f"is {act[0]}", act[0], act[1]]) if act[0][:4] != "with" else draw.choice([act[0], act[1]])
    return " ".join(f"{article} {fur[0]} {name[0]} {verb} {place[0]}".split()), f"一只{fur[1]}{name[1]}{place[1]}{act[2]}"
