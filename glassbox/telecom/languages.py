"""Twenty sentences of customer care in six languages, for measuring what a tokenizer charges whom.

Sentence i says the same in every language, as a native speaker would say it rather than word by
word. Translated for this course; no corpus was copied. Thai is written without spaces between
words, as usual, so a count of words by spaces means nothing for it.
"""

SENTENCES: dict[str, str] = {
    "en": """
Hello, how can I help you?
My internet has not worked since yesterday.
Please restart the modem.
The SIM card is not registered.
How much does this plan cost per month?
The plan costs nineteen euros a month.
You have used up all your data.
Please send me the invoice by email.
I was charged twice this month.
We will give you your money back within five days.
A technician will come tomorrow at nine in the morning.
The fibre cable in your street is cut.
Our team is repairing the fault.
The connection will work again this evening.
I want to keep my phone number.
Please switch on roaming before you travel.
The connection is very slow in the evening.
Which error code do you see on the screen?
I have lost my phone. Please block my number.
Thank you for your patience.
""",
    "de": """
Guten Tag, wie kann ich Ihnen helfen?
Mein Internet funktioniert seit gestern nicht.
Bitte starten Sie das Modem neu.
Die SIM-Karte ist nicht registriert.
Wie viel kostet dieser Tarif im Monat?
Der Tarif kostet neunzehn Euro im Monat.
Sie haben Ihr gesamtes Datenvolumen verbraucht.
Bitte schicken Sie mir die Rechnung per E-Mail.
Diesen Monat wurde bei mir zweimal abgebucht.
Wir erstatten Ihnen das Geld innerhalb von fünf Tagen.
Morgen früh um neun Uhr kommt ein Techniker.
Das Glasfaserkabel in Ihrer Straße ist durchtrennt.
Unser Team behebt gerade die Störung.
Die Verbindung funktioniert heute Abend wieder.
Ich möchte meine Telefonnummer behalten.
Bitte schalten Sie Roaming ein, bevor Sie verreisen.
Abends ist die Verbindung sehr langsam.
Welchen Fehlercode sehen Sie auf dem Bildschirm?
Ich habe mein Handy verloren. Bitte sperren Sie meine Nummer.
Vielen Dank für Ihre Geduld.
""",
    "es": """
Hola, ¿en qué puedo ayudarle?
Mi internet no funciona desde ayer.
Por favor, reinicie el módem.
La tarjeta SIM no está registrada.
¿Cuánto cuesta este plan al mes?
El plan cuesta diecinueve euros al mes.
Ha consumido todos sus datos.
Por favor, envíeme la factura por correo electrónico.
Este mes me han cobrado dos veces.
Le devolveremos el dinero en un plazo de cinco días.
Un técnico irá mañana a las nueve de la mañana.
El cable de fibra de su calle está cortado.
Nuestro equipo está reparando la avería.
La conexión volverá a funcionar esta noche.
Quiero conservar mi número de teléfono.
Por favor, active la itinerancia antes de viajar.
La conexión es muy lenta por la noche.
¿Qué código de error ve en la pantalla?
He perdido mi teléfono. Por favor, bloquee mi número.
Gracias por su paciencia.
""",
    "ru": """
Здравствуйте, чем я могу вам помочь?
У меня со вчерашнего дня не работает интернет.
Пожалуйста, перезагрузите модем.
SIM-карта не зарегистрирована.
Сколько стоит этот тариф в месяц?
Тариф стоит девятнадцать евро в месяц.
Вы израсходовали весь трафик.
Пожалуйста, отправьте мне счёт по электронной почте.
В этом месяце с меня дважды списали деньги.
Мы вернём вам деньги в течение пяти дней.
Завтра в девять утра придёт мастер.
Оптоволоконный кабель на вашей улице перерезан.
Наша бригада устраняет неисправность.
Связь восстановится сегодня вечером.
Я хочу сохранить свой номер телефона.
Пожалуйста, включите роуминг перед поездкой.
По вечерам соединение очень медленное.
Какой код ошибки вы видите на экране?
У меня пропал телефон. Пожалуйста, заблокируйте мой номер.
Спасибо за ваше терпение.
""",
    "hi": """
नमस्ते, हम आपकी क्या मदद कर सकते हैं?
मेरा इंटरनेट कल से काम नहीं कर रहा है।
कृपया मॉडेम को फिर से चालू करें।
सिम कार्ड पंजीकृत नहीं है।
इस प्लान का मासिक शुल्क कितना है?
इस प्लान का शुल्क उन्नीस यूरो प्रति माह है।
आपका सारा डेटा इस्तेमाल हो चुका है।
कृपया मुझे बिल ईमेल से भेज दें।
इस महीने मुझसे दो बार पैसे लिए गए।
हम पाँच दिनों के भीतर आपके पैसे लौटा देंगे।
तकनीशियन कल सुबह नौ बजे आएगा।
आपकी सड़क पर फ़ाइबर केबल कट गई है।
हमारी टीम खराबी ठीक कर रही है।
कनेक्शन आज शाम फिर से काम करने लगेगा।
मुझे अपना फ़ोन नंबर यही रखना है।
कृपया यात्रा से पहले रोमिंग चालू कर लें।
शाम को कनेक्शन बहुत धीमा रहता है।
आपको स्क्रीन पर कौन-सा एरर कोड दिख रहा है?
मेरा फ़ोन खो गया है। कृपया मेरा नंबर ब्लॉक कर दें।
आपके धैर्य के लिए धन्यवाद।
""",
    "th": """
สวัสดีค่ะ มีอะไรให้ช่วยไหมคะ
อินเทอร์เน็ตของฉันใช้ไม่ได้ตั้งแต่เมื่อวาน
กรุณารีสตาร์ตโมเด็ม
ซิมการ์ดยังไม่ได้ลงทะเบียน
แพ็กเกจนี้ราคาเดือนละเท่าไร
แพ็กเกจนี้ราคาเดือนละสิบเก้ายูโร
คุณใช้ปริมาณอินเทอร์เน็ตหมดแล้ว
กรุณาส่งใบแจ้งหนี้ให้ฉันทางอีเมล
เดือนนี้ฉันถูกเรียกเก็บเงินสองครั้ง
เราจะคืนเงินให้คุณภายในห้าวัน
ช่างเทคนิคจะไปถึงพรุ่งนี้ตอนเก้าโมงเช้า
สายไฟเบอร์ที่ถนนของคุณขาด
ทีมงานของเรากำลังแก้ไขเหตุขัดข้อง
การเชื่อมต่อจะกลับมาใช้งานได้เย็นนี้
ฉันต้องการใช้เบอร์โทรศัพท์เดิม
กรุณาเปิดโรมมิ่งก่อนเดินทาง
การเชื่อมต่อช้ามากในช่วงเย็น
คุณเห็นรหัสข้อผิดพลาดอะไรบนหน้าจอ
ฉันทำโทรศัพท์หาย กรุณาระงับเบอร์ของฉัน
ขอบคุณที่อดทนรอ
""",
}


def parallel() -> dict[str, list[str]]:
    """Twenty sentences by language: en, de, es, ru, hi, th; sentence i means the same in each."""
    return {language: text.strip().splitlines() for language, text in SENTENCES.items()}
